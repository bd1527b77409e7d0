"""Measures what a search reaches for a part of a grid's runs, by replays on complete grids.

    python tools/search_cost.py
    python tools/search_cost.py --study_dir=studies/digits_grid --share=0.2 --replays=200

A replay asks a sampler for points and answers with the nearest run of the grid that it has not had
yet: every answer costs one run, those that tune count too. What validation selects among them is
measured on test: its hypervolume as a share of that of what validation selects among all runs.
Models are not run again with fresh seeds, neither here nor there. Made-up grids have a new draw of
noise for each replay; real ones differ by the sampler's seed and the order of tasks. The error is
that of the mean over replays. About two minutes on one core.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mtk.analysis.indicators import hypervolume_of, reference
from mtk.analysis.margins import widths
from mtk.analysis.select import Candidates
from mtk.search import Bisection, Random, Sampler, Sobol, Space, TwoStage

ROOT = Path(__file__).parents[1]
RATE = "experiment.Optimization.learning_rate"
# Tasks, ratio of curvatures, noise, learning rates. The constants of TwoStage were chosen by the
# first five and by Multi-MNIST; see docs/howto/search.md for what the others changed.
MADE_UP = (
    (2, 1, 0.02, 5),
    (2, 10, 0.02, 5),
    (2, 1, 0.08, 5),
    (3, 1, 0.02, 5),
    (3, 4, 0.04, 5),
    (2, 3, 0.04, 5),
    (2, 30, 0.12, 5),
    (2, 3, 0.04, 8),
    (3, 10, 0.04, 5),
    (4, 2, 0.04, 3),
)
SAMPLERS: dict[str, type[Sampler]] = {
    "TwoStage": TwoStage,
    "Bisection": Bisection,
    "Sobol": Sobol,
    "Random": Random,
}


@dataclass(frozen=True)
class Grid:
    """Every run of a grid of static weights and learning rates.

    Attributes:
        weights: `(N, K)`.
        rates: `(N,)`.
        validation: `(N, K)` losses; NaN where a run diverged.
        test: `(N, K)`.
    """

    weights: np.ndarray
    rates: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def __len__(self) -> int:
        return len(self.rates)

    @property
    def models(self) -> Candidates:
        """Its runs that have losses."""
        return Candidates(self.validation, self.test, np.arange(len(self)))[self.finished]

    @property
    def finished(self) -> np.ndarray:
        return np.isfinite(self.validation).all(1) & np.isfinite(self.test).all(1)

    def ordered(self, order: np.ndarray) -> "Grid":
        """Returns the grid with its tasks in another order."""
        columns = (self.weights, self.validation, self.test)
        weights, validation, test = (values[:, order] for values in columns)
        return Grid(weights, self.rates, validation, test)


def space_of(grid: Grid) -> Space:
    """Returns the space in which a grid lies."""
    tasks = [f"task {number}" for number in range(grid.weights.shape[1])]
    low, high = float(grid.rates.min()), float(grid.rates.max())
    rates = {RATE: (low, high)} if high > low else {}
    least = float(grid.weights[grid.weights > 0].min())
    return Space(tasks, least_weight=least, log_uniform=rates)


def replay(make: type[Sampler], grid: Grid, runs: int, seed: int) -> float:
    """Returns the share of the grid's hypervolume that a sampler reaches with so many runs."""
    space = space_of(grid)
    sampler = make(space, budget=runs, seed=seed)
    jitter = np.random.default_rng(seed).random(len(grid)) * 1e-6  # The order of ties.
    taken: list[int] = []
    while len(taken) < min(runs, len(grid)):
        asked = sampler.ask(1)
        if not asked:
            break
        distance = _distances(space, grid, asked[0]) + jitter
        distance[taken] = np.inf
        number = int(distance.argmin())
        taken.append(number)
        rate = {RATE: float(grid.rates[number])} if space.others else {}
        losses = grid.validation[number]
        sampler.tell(space.at(grid.weights[number], rate), losses)
    models, chosen = grid.models, np.isin(np.flatnonzero(grid.finished), taken)
    scale, corner = widths(models.test[models.selected]), reference(models)
    if not chosen.any():
        return 0.0
    whole = hypervolume_of(models, corner, scale)
    return hypervolume_of(models[chosen], corner, scale) / whole


def _distances(space: Space, grid: Grid, point: dict) -> np.ndarray:
    """Returns the distance `(N,)` of each run; the learning rate counts first."""
    weights = np.abs(grid.weights - space.weights_of(point)).max(1)
    if not space.others:
        return weights
    return weights + 100 * np.abs(np.log(grid.rates / point[RATE]))


def made_up(tasks: int, ratio: float, noise: float, rates: int = 5) -> Callable[[int], Grid]:
    """Returns what draws a grid of quadratic losses, whose minimum is known for all weights.

    Args:
        tasks: Their number.
        ratio: Between the largest and the smallest curvature of the losses.
        noise: Standard deviation, in widths of the front.
        rates: Learning rates; the best one lies somewhere between them.
    """
    curvature = np.geomspace(1, ratio, tasks)
    steps = {2: 10, 3: 6, 4: 8}[tasks]  # With equal weights among them.
    whole = [w for w in itertools.product(range(1, steps), repeat=tasks) if sum(w) == steps]
    weights = np.array(whole) / steps
    # Each task has a corner of the simplex as its optimum: the minimum is a weighted mean of them.
    shares = weights * curvature
    optimum = shares / shares.sum(1, keepdims=True)
    squares = ((optimum[:, None, :] - np.eye(tasks)[None]) ** 2).sum(2)
    losses = 1 + curvature * squares
    width = np.ptp(losses, axis=0)
    places = np.linspace(-1, 1, rates)

    def draw(seed: int) -> Grid:
        generator = np.random.default_rng(seed)
        centre = generator.uniform(-0.5, 0.5)
        cost = 0.6 * (places - centre) ** 2  # In widths.
        every = losses[:, None, :] + cost[None, :, None] * width
        every = every.reshape(-1, tasks)
        validation, test = (
            every + noise * width * generator.normal(size=every.shape) for _ in range(2)
        )
        repeated = np.repeat(weights, rates, axis=0)
        return Grid(repeated, np.tile(10.0**places, len(weights)), validation, test)

    return draw


def of_table(path: Path, metric: str = "loss") -> Grid:
    """Returns the static runs of a report's table of configurations."""
    table = pd.read_csv(path)
    table = table[table["method"].isin(["static_weights", "sampling"])]
    name = next(n for n in table if n.endswith((".weights", ".sampling_rates")))
    rate = [n for n in table if n.endswith(".learning_rate") and table[n].notna().all()]
    weights = pd.DataFrame([_weights(text) for text in table[name]])
    rates = table[rate[0]].to_numpy(float) if rate else np.ones(len(table))
    validation, test = (
        table[[f"{split}/{task}/{metric}" for task in weights]].to_numpy(float)
        for split in ("validation", "test")
    )
    return Grid(weights.to_numpy(float), rates, validation, test)


def _weights(text: str) -> dict[str, float]:
    pairs = (pair.split(":") for pair in text.strip("{}").split(","))
    return {name.strip(" '\""): float(value) for name, value in pairs}


def of_study(folder: str) -> Grid:
    """Returns the static runs of a study folder, one seed of each."""
    from mtk.analysis import load

    runs = load(folder)
    runs = runs[(runs["status"] == "finished") & (runs["role"] == "baseline")]
    runs = runs.drop_duplicates("configuration")
    weights = pd.DataFrame(list(runs["task_weights"]))
    validation, test = (
        runs[[f"{split}/{task}/loss" for task in weights]].to_numpy(float)
        for split in ("validation", "test")
    )
    # To the digits that were asked for: they are float32 in a run's record.
    whole = weights.to_numpy(float).round(6)
    whole = whole / whole.sum(1, keepdims=True)
    return Grid(whole.round(6), runs[RATE].to_numpy(float), validation, test)


def same(grid: Grid) -> Callable[[int], Grid]:
    """Returns what gives one grid, with its tasks in an order that the seed draws."""

    def draw(seed: int) -> Grid:
        return grid.ordered(np.random.default_rng(seed).permutation(grid.weights.shape[1]))

    return draw


def grids(studies: Sequence[str]) -> Iterator[tuple[str, Callable[[int], Grid]]]:
    """Yields the name of each grid and what draws it."""
    for tasks, ratio, noise, rates in MADE_UP:
        name = f"K={tasks}, curvature 1:{ratio}, noise {noise:.0%}"
        yield name, made_up(tasks, ratio, noise, rates)
    name = "figures_2_4_5_and_8_to_18_configurations.csv"
    yield "Multi-MNIST (docs)", same(of_table(ROOT / "docs/multi_mnist/tables" / name))
    for folder in studies:
        yield Path(folder).name, same(of_study(folder))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--study_dir", action="append", default=[], help="a study of static weights"
    )
    parser.add_argument("--share", type=float, default=0.2, help="of the grid's runs")
    parser.add_argument("--replays", type=int, default=200)
    given = parser.parse_args()
    print("| grid | runs | " + " | ".join(SAMPLERS) + " |")
    print("|---|---|" + "---|" * len(SAMPLERS))
    for name, draw in grids(given.study_dir):
        print(_row(name, draw, given.share, given.replays), flush=True)


def _row(name: str, draw: Callable[[int], Grid], share: float, replays: int) -> str:
    first = draw(0)
    runs = max(1, round(share * len(first)))
    cells = []
    for make in SAMPLERS.values():
        if make is Bisection and first.weights.shape[1] != 2:
            cells.append("")
            continue
        reached = np.array([replay(make, draw(seed), runs, seed) for seed in range(replays)])
        error = reached.std(ddof=1) / math.sqrt(replays) if replays > 1 else 0.0
        cells.append(f"{reached.mean():.3f} ± {error:.3f}")
    return f"| {name} | {runs} of {len(first)} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
