"""Measures how often a leaderboard errs, and what it finds, on simulated benchmarks.

    python tools/bench_power.py --rounds=200

Each round has entry 0 (tuned static weights) and eight methods. The losses are quadratic, so the
front of static weights is known. Every entry has a front of its own. It tries twenty weightings;
those of methods lie anywhere between the outermost ones of entry 0, and the leaderboard does not
know them. Noisy validation of one seed selects at most five of them, which are measured with five
seeds. 80 % of the variance over seeds is common to all entries. The first method gains the same
part of the front's width in every task; all others are nulls. About five minutes on one core.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from simulated_studies import optimal_losses, quadratics

from mtk.analysis.margins import widths
from mtk.analysis.measure import GROUPS, Models
from mtk.analysis.select import spread_front
from mtk.bench.ranking import Standing, rank

ZERO, GAINING = "entry 0", "method 0"
DELTA = 0.05
COMMON = 0.8
SEEDS = 5


@dataclass(frozen=True)
class Cell:
    """A kind of benchmark.

    Attributes:
        noise: Standard deviation over seeds, in widths of the front.
        gain: By how much the first method is better in every task, in widths of the front.
        ratio: By how much the curvatures of the losses differ at most.
        num_tasks: K.
        test_noise: Standard deviation of a model's values by the finite test set, in widths.
        tried: Weightings that an entry tries.
        methods: How many there are beside entry 0.
    """

    noise: float = 0.04
    gain: float = 0.0
    ratio: float = 1.0
    num_tasks: int = 2
    test_noise: float = 0.02
    tried: int = 20
    methods: int = 8


def entries(cell: Cell, generator: np.random.Generator) -> dict[str, Models]:
    """Returns the models of all entries of a round."""
    losses = _fronts(cell, generator)
    width = widths(losses[0])
    losses[1] -= cell.gain * width
    chosen = [own[_selected(cell, own, width, generator)] for own in losses]
    shared = COMMON**0.5 * generator.normal(size=(SEEDS, cell.num_tasks))
    names = [ZERO, *(f"method {number}" for number in range(cell.methods))]
    made = (_measured(cell, own, width, shared, generator) for own in chosen)
    return dict(zip(names, made, strict=True))


def _fronts(cell: Cell, generator: np.random.Generator) -> list[np.ndarray]:
    """Returns the losses `(tried, K)` of what each entry tries."""
    matrices, centers = quadratics(cell.num_tasks, cell.ratio, generator)
    return [
        optimal_losses(_weights(cell, generator), matrices, centers)
        for _ in range(1 + cell.methods)
    ]


def _weights(cell: Cell, generator: np.random.Generator) -> np.ndarray:
    """Returns weights `(tried, K)`: near the ends of the simplex and anywhere between."""
    count, least = cell.num_tasks, 0.1
    ends = least + (1 - count * least) * np.eye(count)
    inner = least + (1 - count * least) * generator.dirichlet(np.ones(count), cell.tried - count)
    return np.concatenate([0.9 * ends + 0.1 / count, inner])


def _selected(
    cell: Cell, losses: np.ndarray, width: np.ndarray, generator: np.random.Generator
) -> list[int]:
    """Returns the models that validation of one seed selects."""
    shared, own = COMMON**0.5, (1 - COMMON) ** 0.5
    noise = shared * generator.normal(size=losses.shape[1])
    seen = losses + cell.noise * width * (noise + own * generator.normal(size=losses.shape))
    return spread_front(seen, (seen / width).mean(1))


def _measured(
    cell: Cell,
    losses: np.ndarray,
    width: np.ndarray,
    shared: np.ndarray,
    generator: np.random.Generator,
) -> Models:
    """Returns models at all seeds, over groups of test examples."""
    number, tasks = losses.shape
    own = (1 - COMMON) ** 0.5 * generator.normal(size=(number, SEEDS, tasks))
    values = losses[:, None] + cell.noise * width * (shared + own)
    # Half of what the examples do is the same at all seeds of a model, and half is not.
    lasting = generator.normal(size=(number, 1, GROUPS, tasks)) * 0.5**0.5
    passing = generator.normal(size=(number, SEEDS, GROUPS, tasks)) * 0.5**0.5
    groups = cell.test_noise * width * GROUPS**0.5 * (lasting + passing)
    examples = values[:, :, None] + groups
    return Models(examples.mean(2), examples=examples)


def standings(cell: Cell, seed: int) -> dict[str, Standing]:
    """Returns the standings of one round."""
    return rank(entries(cell, np.random.default_rng([seed, 18])), DELTA)


def shares(cell: Cell, rounds: Sequence[int]) -> tuple[float, float, float]:
    """Returns what the table shows of a kind of benchmark.

    Returns:
        How often the first method is first and entry 0 is not, how often it is first alone, and
        how often any null is above entry 0 without a tie.
    """
    found = []
    for seed in rounds:
        stood = standings(cell, seed)
        first = stood[GAINING].place == 1 and stood[ZERO].place > 1
        alone = first and all(s.place > 1 for n, s in stood.items() if n != GAINING)
        nulls = [n for n in stood if n != ZERO and (n != GAINING or not cell.gain)]
        above = any(ZERO not in stood[n].ties and stood[n].low > 0 for n in nulls)
        found.append((first, alone, above))
    return tuple(np.mean(found, axis=0).tolist())


CELLS = [
    Cell(gain=gain, noise=noise, ratio=ratio)
    for noise in (0.04, 0.12)
    for ratio in (1.0, 30.0)
    for gain in (0.1, 0.0)
]
CELLS += [Cell(gain=gain, num_tasks=3) for gain in (0.1, 0.0)]
CELLS += [Cell(gain=gain, test_noise=0.1) for gain in (0.1, 0.0)]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = range(parser.parse_args().rounds)
    head = ["K", "curvatures", "noise", "test noise", "gain", "first, entry 0 not", "first alone"]
    head.append("any null above entry 0")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for cell in CELLS:
        started = time.monotonic()
        first, alone, above = shares(cell, rounds)
        found = f"{first:.3f} | {alone:.3f}" if cell.gain else "| "
        print(
            f"| {cell.num_tasks} | 1:{cell.ratio:g} | {cell.noise:.0%} | {cell.test_noise:.0%} | "
            f"{cell.gain:.0%} | {found} | {above:.3f} |  ({time.monotonic() - started:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
