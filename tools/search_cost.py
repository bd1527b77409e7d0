"""Measures what a search reaches with a part of a grid's runs, by replays on complete grids.

    python tools/search_cost.py
    python tools/search_cost.py --study_dir=studies/digits_grid --share=0.2 --replays=200
    python tools/search_cost.py --study_dir=studies/digits_grid --rungs --samplers TwoStage Random

A replay asks a sampler for points. The answer is the nearest run of the grid that the sampler has
not received yet. Every answer costs one run, including those that tune. The table shows the test
hypervolume of what validation selects among these runs, as a share of that of what validation
selects among all runs. In neither case are models run again with fresh seeds. On synthetic grids
each replay has new noise; on real ones replays differ in the sampler's seed and the order of tasks.
The error is that of the mean over replays. For a study, brackets show the CPU seconds of the runs
that were asked for, as a share of the grid's. It takes minutes on one core; longer for Optuna.

With `--rungs` each sampler appears twice: without rungs, and with two rungs at a tenth and three
tenths of a run, from which a third of the trials continues. A trial that stops costs its share of a
run, so the same cost allows more trials.

No sampler exceeds the column "all known" by much: it takes the same number of runs of the grid, one
by one with all results known, each as the one that adds most. For "expected known" the expected
losses are known instead of the results, which shows how much of "all known" is luck.

With `--known_rate` the best learning rate is known beforehand, so all runs place weights.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from search_grids import RATE, Grid, made_up, of_study, of_table, same

from mtk.analysis.indicators import hypervolume_of, scale_and_reference
from mtk.analysis.select import Candidates
from mtk.search import Bisection, Front, Optuna, Random, Sampler, Sobol, Space, TwoStage
from mtk.search.halving import Halving
from mtk.search.samplers import Trial

KEEP = 1 / 3  # Share of the trials that continues from a rung.
ROOT = Path(__file__).parents[1]
# Tasks, ratio of curvatures, noise, learning rates, the part of their range in which the best one
# lies, and whether high ones are worse than low ones. docs/howto/search.md says which of the grids
# determined constants.
MADE_UP = (
    (2, 1, 0.02, 5, 0.5, False),
    (2, 10, 0.02, 5, 0.5, False),
    (2, 1, 0.08, 5, 0.5, False),
    (3, 1, 0.02, 5, 0.5, False),
    (3, 4, 0.04, 5, 0.5, False),
    (2, 3, 0.04, 5, 0.5, False),
    (2, 30, 0.12, 5, 0.5, False),
    (2, 3, 0.04, 8, 0.5, False),
    (3, 10, 0.04, 5, 0.5, False),
    (4, 2, 0.04, 3, 0.5, False),
    (2, 1, 0.02, 4, 0.9, False),
    (2, 3, 0.04, 4, 0.9, False),
    (2, 3, 0.04, 4, 0.9, True),
    (2, 1, 0.02, 5, 0.5, True),
    (2, 3, 0.04, 8, 0.5, True),
    (3, 4, 0.04, 5, 0.9, True),
    (2, 3, 0.04, 5, 1.3, False),
    (2, 3, 0.04, 5, 1.3, True),
)
SAMPLERS: dict[str, type[Sampler]] = {
    "TwoStage": TwoStage,
    "Bisection": Bisection,
    "Optuna": Optuna,
    "Sobol": Sobol,
    "Random": Random,
}


def space_of(grid: Grid, knows_rate: bool = False) -> Space:
    """Returns the space in which a grid lies; of the weights alone, where the rate is known."""
    tasks = [f"task {number}" for number in range(grid.weights.shape[1])]
    low, high = float(grid.rates.min()), float(grid.rates.max())
    rates = {RATE: (low, high)} if high > low and not knows_rate else {}
    least = float(grid.weights[grid.weights > 0].min())
    return Space(tasks, least_weight=least, log_uniform=rates)


def replay(
    make: type[Sampler],
    grid: Grid,
    runs: int,
    seed: int,
    keep: float | None = None,
    knows_rate: bool = False,
) -> tuple[float, float]:
    """Returns what a sampler reaches for the cost of runs.

    Args:
        make: The sampler.
        grid: The grid.
        runs: How many runs may be paid for. A run that stops costs its share.
        seed: Of the sampler, and of the order of ties.
        keep: Share of the trials that goes on from a rung; None: each goes to its end.
        knows_rate: Whether all runs have the learning rate that is best on average.

    Returns:
        The shares of the grid's hypervolume and of its CPU seconds; the latter NaN if not known.
    """
    space = space_of(grid, knows_rate)
    apart = grid.rates != best_rate(grid) if knows_rate else np.zeros(len(grid), bool)
    rungs = [] if keep is None else [*grid.rungs]
    halving = Halving(Front(), space, keep or 1.0)
    sampler = make(space, budget=round(runs / _cost(rungs, keep or 1.0)), seed=seed)
    jitter = np.random.default_rng(seed).random(len(grid)) * 1e-6  # The order of ties.
    taken: list[int] = []
    complete: list[int] = []
    spent = seconds = 0.0
    every = np.full(len(grid), np.nan) if grid.seconds is None else grid.seconds
    while len(taken) < (~apart).sum() and spent + 1 <= runs + 1e-9:
        asked = sampler.ask(1)
        if not asked:
            break
        distance = _distances(space, grid, asked[0]) + jitter
        distance[apart] = distance[taken] = np.inf
        number = int(distance.argmin())
        taken.append(number)
        rate = {RATE: float(grid.rates[number])} if space.others else {}
        point = space.at(grid.weights[number], rate)
        stops = _stops(halving, point, [grid.curves[r][number] for r in range(len(rungs))])
        part = 1 if stops is None else rungs[stops]
        spent += part
        seconds += part * every[number]
        if stops is None:
            complete.append(number)
        sampler.tell(point, (grid.validation if stops is None else grid.curves[stops])[number])
    chosen = np.isin(np.flatnonzero(grid.finished), complete)
    return _share(grid.models, chosen), float(seconds / every.sum())


def best_rate(grid: Grid) -> float:
    """Returns the learning rate with the least validation loss, over all weights and tasks."""
    means = {rate: np.mean(grid.validation[grid.rates == rate]) for rate in set(grid.rates)}
    return float(min(means, key=lambda rate: np.nan_to_num(means[rate], nan=np.inf)))


def all_known(grid: Grid, runs: int) -> float:
    """Returns what the best runs reach: each is the one that adds most to those before it."""
    return _share(grid.models, _best(grid.models, runs))


def expected_known(grid: Grid, runs: int) -> float:
    """Returns what the runs reach that are best by their expected losses; NaN if unknown."""
    if grid.expected is None:
        return math.nan
    expected = replace(grid, validation=grid.expected, test=grid.expected)
    return _share(grid.models, _best(expected.models, runs))


def _best(models: Candidates, runs: int) -> np.ndarray:
    """Returns which models `(N,)` are taken, each of them the one that adds most."""
    scale, corner = scale_and_reference(models.front)
    taken = np.zeros(len(models), bool)
    for _ in range(min(runs, len(models))):
        added = np.eye(len(models), dtype=bool)[~taken] | taken
        taken = added[np.argmax([hypervolume_of(models[each], corner, scale) for each in added])]
    return taken


def _share(models: Candidates, chosen: np.ndarray) -> float:
    """Returns the hypervolume of some models as a share of that of all."""
    scale, corner = scale_and_reference(models.front)
    reached = hypervolume_of(models[chosen], corner, scale) if chosen.any() else 0.0
    return reached / hypervolume_of(models, corner, scale)


def _cost(rungs: Sequence[float], keep: float) -> float:
    """Returns what a trial costs on average, in runs, if just the share `keep` goes on."""
    parts = np.diff([0.0, *rungs, 1.0])
    return float((parts * keep ** np.arange(len(parts))).sum())


def _stops(halving: Halving, point: dict, curve: Sequence[np.ndarray]) -> int | None:
    """Returns the rung from which a trial does not go on; None if it reaches its end."""
    for number, losses in enumerate(curve):
        told = tuple(losses.tolist()) if np.isfinite(losses).all() else None
        if not halving.go_on(number, [Trial(point, told)]):
            return number
    return None


def _distances(space: Space, grid: Grid, point: dict) -> np.ndarray:
    """Returns the distance `(N,)` of each run; the learning rate counts first."""
    weights = np.abs(grid.weights - space.weights_of(point)).max(1)
    if not space.others:
        return weights
    return weights + 100 * np.abs(np.log(grid.rates / point[RATE]))


def grids(
    studies: Sequence[str], only_studies: bool
) -> Iterator[tuple[str, Callable[[int], Grid]]]:
    """Yields the name of each grid and what draws it."""
    for tasks, ratio, noise, rates, span, steep in () if only_studies else MADE_UP:
        where = ", any rate best, or one beyond" if span > 1 else ", any rate best" * (span > 0.5)
        kind = where + ", steep" * steep
        name = f"K={tasks}, curvature 1:{ratio}, noise {noise:.0%}{kind}"
        yield name, made_up(tasks, ratio, noise, rates, span, steep)
    if not only_studies:
        yield "Multi-MNIST (docs)", same(of_table(ROOT / "docs/multi_mnist/tables/runs.csv"))
    for folders in studies:
        yield folders, same(*map(of_study, folders.split(",")))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    about = "a study of static weights; or studies of several training seeds, joined by commas"
    add("--study_dir", action="append", default=[], help=about)
    add("--only_studies", action="store_true", help="omit the grids that need no study")
    add("--share", type=float, default=0.2, help="share of the grid's runs")
    add("--replays", type=int, default=200)
    add("--samplers", nargs="*", choices=SAMPLERS, default=list(SAMPLERS))
    add("--rungs", action="store_true", help="also replay with rungs")
    add(
        "--known_rate",
        action="store_true",
        help="bind the best learning rate; all runs place weights",
    )
    given = parser.parse_args()
    keeps = [None, KEEP] if given.rungs else [None]
    columns = [(name, keep) for name in given.samplers for keep in keeps]
    heads = [name if keep is None else f"{name}, rungs" for name, keep in columns]
    print("| grid | runs | " + " | ".join([*heads, "all known", "expected known"]) + " |")
    print("|---|---|" + "---|" * (len(heads) + 2))
    for name, draw in grids(given.study_dir, given.only_studies):
        first = draw(0)
        runs = max(1, round(given.share * len(first)))
        cells = [
            _cell(draw, SAMPLERS[s], runs, given.replays, keep, given.known_rate)
            for s, keep in columns
        ]
        for known in (all_known, expected_known):
            mean = np.mean([known(draw(seed), runs) for seed in range(given.replays)])
            cells.append("" if math.isnan(mean) else f"{mean:.3f}")
        print(f"| {name} | {runs} of {len(first)} | " + " | ".join(cells) + " |", flush=True)


def _cell(
    draw: Callable[[int], Grid],
    make: type[Sampler],
    runs: int,
    replays: int,
    keep: float | None,
    knows_rate: bool,
) -> str:
    """Returns the mean over replays and its error; empty where the sampler or rungs do not fit."""
    first = draw(0)
    unfit = make is Bisection and first.weights.shape[1] != 2
    if unfit or (keep is not None and not len(first.rungs)):
        return ""
    each = [replay(make, draw(seed), runs, seed, keep, knows_rate) for seed in range(replays)]
    shares, costs = np.array(each).T
    error = shares.std(ddof=1) / math.sqrt(replays) if replays > 1 else 0.0
    cost = "" if math.isnan(costs.mean()) else f" ({costs.mean():.3f})"
    return f"{shares.mean():.3f} ± {error:.3f}{cost}"


if __name__ == "__main__":
    main()
