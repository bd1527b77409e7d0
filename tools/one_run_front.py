"""Compares the front of one conditioned network with that of separate runs, on Multi-digits.

    python tools/one_run_front.py --steps=630 --seeds=3

The separate runs have static weights, evenly spaced from 0.05 to 0.95; everything else is as in the
conditioned run. All settings are those of configs/multi_digits.gin, without its schedule. The
comparison is by the hypervolume of the two losses, up to a loss of one, after the last step: at
equal steps, at the CPU time of all separate runs, and at the CPU time of the one run.
"""

import argparse
import time
from typing import Any, NamedTuple

import keras
import numpy as np

import mtk
from mtk.analysis.indicators import hypervolume
from mtk.workloads import MultiDigits

LAYERS = ("convolution_1", "convolution_2", "representation")
SPLITS = ("validation", "test")
CORNER = np.ones(2)


class Front(NamedTuple):
    """What some runs reach, and what they cost.

    Attributes:
        points: By split, losses `(N, 2)`.
        seconds: CPU time of the steps but the first, which traces.
    """

    points: dict[str, np.ndarray]
    seconds: float

    def volume(self, split: str) -> float:
        """Returns the hypervolume of a split; points beyond the corner add nothing."""
        points = self.points[split]
        return hypervolume(points[(points < CORNER).all(1)], CORNER)

    @property
    def width(self) -> float:
        """Returns how far the test losses reach from the best to the worst, at the median task."""
        return float(np.median(np.ptp(self.points["test"], axis=0)))


def trained(
    data: MultiDigits,
    network: keras.Model,
    combiner: mtk.combiners.Combiner,
    steps: int,
    seed: int,
    learning_rate: float,
) -> tuple[mtk.MultiTaskModel, float]:
    """Trains a network; returns the model and the CPU seconds of the steps but the first."""
    model = mtk.MultiTaskModel(network, data.tasks, combiner)
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.8))
    model.fit(data.train(256, 1, seed), verbose=0)
    begin = time.process_time()
    model.fit(data.train(256, steps, seed, first_step=1), verbose=0)
    return model, time.process_time() - begin


def losses(data: MultiDigits, logs: dict[str, Any]) -> list[float]:
    """Returns the task losses in the logs of an evaluation."""
    return [logs[f"{task.name}_loss"] for task in data.tasks]


def separate(data: MultiDigits, options: argparse.Namespace, steps: int, seed: int) -> Front:
    """Returns the front of runs with static weights."""
    points: dict[str, list] = {split: [] for split in SPLITS}
    total = 0.0
    for weight in np.linspace(0.05, 0.95, options.runs):
        combiner = mtk.combiners.StaticWeights([weight, 1 - weight])
        network = data.network(seed)
        model, seconds = trained(data, network, combiner, steps, seed, options.learning_rate)
        total += seconds
        for split in SPLITS:
            logs = model.evaluate(getattr(data, split)(256), verbose=0, return_dict=True)
            points[split].append(losses(data, logs))
    return Front({split: np.array(found) for split, found in points.items()}, total)


def conditioned(data: MultiDigits, options: argparse.Namespace, steps: int, seed: int) -> Front:
    """Returns the front of one run with a conditioned network."""
    network = mtk.models.conditioned(data.network(seed), LAYERS, seed=seed)
    combiner = mtk.combiners.RLW("dirichlet", seed, per_example=not options.per_batch)
    rate = options.conditioned_learning_rate
    model, seconds = trained(data, network, combiner, steps, seed, rate)
    grid = [(weight, 1 - weight) for weight in np.linspace(0.05, 0.95, options.points)]
    found = {
        split: np.array(
            [losses(data, p) for p in mtk.front(model, getattr(data, split)(256), grid)]
        )
        for split in SPLITS
    }
    return Front(found, seconds)


def main(options: argparse.Namespace) -> None:
    """Trains, and prints a line for each kind of front."""
    data = MultiDigits()
    fronts: dict[str, list[Front]] = {}
    for seed in range(options.seeds):
        every = separate(data, options, options.steps, seed)
        one = conditioned(data, options, options.steps, seed)
        ratio = every.seconds / one.seconds
        longer, shorter = round(options.steps * ratio), round(options.steps / ratio)
        for name, front in (
            (f"{options.runs} separate runs, {options.steps} steps each", every),
            (f"one conditioned run, {options.steps} steps", one),
            ("one conditioned run, CPU of all", conditioned(data, options, longer, seed)),
            (f"{options.runs} separate runs, CPU of one", separate(data, options, shorter, seed)),
        ):
            fronts.setdefault(name, []).append(front)
            volumes = ", ".join(f"{split} {front.volume(split):.4f}" for split in SPLITS)
            print(f"seed {seed}: {name}: {volumes}, {front.seconds:.1f} s", flush=True)
    print("\n| front | CPU s | hypervolume, validation | hypervolume, test | width, test |")
    print("|---|---|---|---|---|")
    for name, found in fronts.items():
        by_split = [[front.volume(split) for front in found] for split in SPLITS]
        cells = [f"{np.mean(each):.3f} ± {np.std(each):.3f}" for each in by_split]
        seconds, width = np.mean([(f.seconds, f.width) for f in found], axis=0)
        print(f"| {name} | {seconds:.1f} | {' | '.join(cells)} | {width:.3f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=630, help="steps of each separate run")
    parser.add_argument("--runs", type=int, default=5, help="number of separate runs")
    parser.add_argument(
        "--points", type=int, default=11, help="points on the front of the conditioned network"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=0.1)
    parser.add_argument("--conditioned_learning_rate", type=float, default=0.05)
    parser.add_argument("--per_batch", action="store_true", help="sample weights once per step")
    main(parser.parse_args())
