"""Trains complete grids, and searches at a part of their cost, with several seeds.

    python tools/search_live.py energy --data_dir=enb.csv --dir=studies/live
    python tools/search_live.py adult --data_dir=adult.data.gz --dir=studies/live
    python tools/search_live.py digits --dir=studies/live
    python tools/search_live.py multi_mnist --data_dir=mnist --dir=studies/live
    python tools/search_live.py streets --dir=studies/live
    python tools/search_live.py streets_low --dir=studies/live
    python tools/search_live.py multi30k --data_dir=prepared --dir=studies/live

For each training seed, which also draws the splits, there is a grid of static weights and learning
rates, and a search with each sampler with a fifth of the grid's runs. The figure is that of
`search_cost.py`: the test hypervolume of what validation selects in the search, as a share of that
in the grid of the same seed. The cost is the CPU seconds that the runs recorded, including those
that tune. All are ordinary study folders, so the same command continues after a stop.

Each grid can be replayed: `search_cost.py --study_dir=studies/live/energy/grid-0`.
"""

import argparse
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from search_grids import RATE, of_study

from mtk import search, study, tf_logging
from mtk.analysis import load
from mtk.analysis.indicators import hypervolume_of, scale_and_reference

CONFIGS = Path(__file__).parents[1] / "configs"
SAMPLERS = {"TwoStage": search.TwoStage, "Sobol": search.Sobol, "Random": search.Random}
FIRST = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)  # Weights of the first task.


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        config: Its file.
        tasks: Their names.
        rates: The learning rates of the grid, whose range is searched.
        settings: Bindings of every run.
        combiner: The file of the static method.
        weights: The parameter that takes a weight for each task.
        data: The macro that says where the data are.
    """

    config: str
    tasks: tuple[str, str]
    rates: Sequence[float]
    settings: Mapping[str, Any] = field(default_factory=dict)
    combiner: str = "combiners/static_weights.gin"
    weights: str = "combiners.StaticWeights.weights"
    data: str = "data_dir"


WORKLOADS = {
    "digits": Workload(
        "multi_digits.gin",
        ("left", "right"),
        (0.01, 0.03, 0.1, 0.3, 1.0),
        {
            "experiment.Training.epochs": 6,
            "evaluate_every": 34,
            "multi_digits.MultiDigits.partners": 4,
            "multi_digits.MultiDigits.data_seed": "%seed",
        },
    ),
    "energy": Workload(
        "energy.gin",
        ("Y1", "Y2"),
        (0.001, 0.003, 0.01, 0.03, 0.1),
        {"table.Table.data_seed": "%seed"},
    ),
    "adult": Workload(
        "adult.gin",
        ("income", "marital"),
        (0.0003, 0.001, 0.003, 0.01, 0.03),
        {"experiment.Training.epochs": 3, "table.Table.data_seed": "%seed"},
    ),
    "multi_mnist": Workload(
        "multi_mnist.gin",
        ("left", "right"),
        (0.01, 0.03, 0.1, 0.3, 1.0),
        {"experiment.Training.epochs": 1, "multi_mnist.MultiMNIST.data_seed": "%seed"},
    ),
    "streets": Workload(
        "cityscapes_synthetic.gin",
        ("segmentation", "depth"),
        (0.001, 0.003, 0.01, 0.03, 0.1),
        {
            "experiment.Training.steps": 150,
            "evaluate_every": 50,
            "street_world.StreetWorld.num_train": 200,
            "street_world.StreetWorld.size": (32, 64),
            "street_world.StreetWorld.widths": (8, 12, 16, 24),
            "street_world.StreetWorld.head_width": 24,
            "street_world.StreetWorld.data_seed": "%seed",
        },
    ),
    "multi30k": Workload(
        "translation_multi30k.gin",
        ("de", "fr"),
        (0.0003, 0.001, 0.003, 0.01, 0.03),
        {
            "experiment.Training.steps": 240,
            "evaluate_every": 80,
            "schedules.Cosine.epochs": 240 / 906,
            "schedules.Cosine.warmup": 40,
            "translation.Translation.num_layers": 1,
            "translation.Translation.width": 64,
            "translation.Translation.feed_forward_width": 128,
            "translation.Translation.beam": 1,
        },
        "combiners/proportional_sampling.gin",
        "translation.Translation.sampling_rates",
        "folder",
    ),
}
# Their best rates are the two highest.
WORKLOADS["streets_low"] = replace(WORKLOADS["streets"], rates=(0.0003, 0.001, 0.003, 0.01, 0.03))
# To measure gradients another step is traced, which takes long beside such short runs.
COMMON = {"experiment.Logging.measure_every": 0}


def grid_of(workload: Workload, seed: int) -> study.Study:
    """Returns the complete grid of a training seed."""
    first, second = workload.tasks
    weights = [{first: each, second: round(1 - each, 6)} for each in FIRST]
    return study.Study(
        name="grid",
        configs=[workload.config],
        methods={"static": workload.combiner},
        settings=workload.settings,
        grid={RATE: workload.rates, workload.weights: weights},
        seeds=(seed,),
        fresh_seeds=0,
        baseline="static",
        weights=workload.weights,
    )


def search_of(workload: Workload, seed: int, sampler: str, runs: int) -> search.Search:
    """Returns a search in the range of the grid; the seed is that of the sampler too."""
    space = search.Space(
        workload.tasks,
        least_weight=min(FIRST),
        log_uniform={RATE: (min(workload.rates), max(workload.rates))},
        weights=workload.weights,
    )
    return search.Search(
        name=sampler,
        configs=[workload.config, workload.combiner],
        space=space,
        runs=runs,
        settings=workload.settings,
        sampler=functools.partial(SAMPLERS[sampler], seed=seed),
        seeds=(seed,),
    )


def train(
    workload: Workload, folder: Path, seed: int, samplers: Sequence[str], share: float
) -> None:
    """Does what is left to do of a training seed: the grid, then the searches."""
    engine = functools.partial(study.engines.Local, workers=1)
    grid = grid_of(workload, seed)
    code = study.sweep(grid, folder / f"grid-{seed}", engine, folders=[CONFIGS])
    runs = int(share * len(FIRST) * len(workload.rates))
    for sampler in samplers:
        if code:
            raise SystemExit(code)
        asked = search_of(workload, seed, sampler, runs)
        found = search.search(asked, folder / f"{sampler}-{seed}", engine, folders=[CONFIGS])
        code = found.exit_code


def reached(grid: Path, searched: Path) -> tuple[float, float]:
    """Returns the shares of the grid's hypervolume and of its CPU seconds."""
    whole, part = of_study(str(grid)).models, of_study(str(searched)).models
    scale, corner = scale_and_reference(whole.front)
    volumes = [hypervolume_of(models, corner, scale) for models in (part, whole)]
    seconds = [float(load(folder)["cpu_seconds"].sum()) for folder in (searched, grid)]
    return volumes[0] / volumes[1], seconds[0] / seconds[1]


def main() -> None:
    """Trains, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("workload", choices=WORKLOADS)
    add("--dir", type=Path, required=True, help="folder for the study folders")
    add("--data_dir", type=Path, help="a CSV file, MNIST's folder, or a prepared folder")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    add("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    add("--share", type=float, default=0.2, help="share of the grid's runs")
    given = parser.parse_args()
    tf_logging.start_tensorflow()  # Once: each run is forked off this process.
    workload = WORKLOADS[given.workload]
    data = {workload.data: str(given.data_dir.resolve())} if given.data_dir else {}
    workload = replace(workload, settings={**workload.settings, **COMMON, **data})
    folder = given.dir / given.workload
    for seed in given.seeds:
        train(workload, folder, seed, given.samplers, given.share)
    show(folder, given.seeds, given.samplers)


def show(folder: Path, seeds: Sequence[int], samplers: Sequence[str]) -> None:
    """Prints the table: a row for each training seed, and their mean with its standard error."""
    found = np.array(
        [
            [reached(folder / f"grid-{n}", folder / f"{each}-{n}") for each in samplers]
            for n in seeds
        ]
    )
    print(f"| {folder.name}: seed | " + " | ".join(samplers) + " |")
    print("|---|" + "---|" * len(samplers))
    for seed, row in zip(seeds, found, strict=True):
        cells = [f"{volume:.3f} ({cost:.3f})" for volume, cost in row]
        print(f"| {seed} | " + " | ".join(cells) + " |")
    if len(seeds) > 1:
        errors = found[..., 0].std(0, ddof=1) / np.sqrt(len(seeds))
        means = zip(found.mean(0), errors, strict=True)
        cells = [f"{volume:.3f} ± {error:.3f} ({cost:.3f})" for (volume, cost), error in means]
        print("| mean | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
