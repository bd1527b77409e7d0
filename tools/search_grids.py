"""Complete grids of static weights and learning rates, for replays of searches."""

import ast
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mtk.analysis.select import Candidates

RATE = "experiment.Optimization.learning_rate"
_RUNGS = (0.1, 0.3)  # Shares of a run's steps.
# Synthetic losses begin so many widths of the front above their end, and fall by so many times e.
_ABOVE, _FALL = 3.0, 6.0


@dataclass(frozen=True)
class Grid:
    """Every run of a grid of static weights and learning rates.

    Attributes:
        weights: `(N, K)`.
        rates: `(N,)`.
        validation: `(N, K)` losses; NaN where a run diverged.
        test: `(N, K)`.
        rungs: `(R,)`, shares of a run's steps at which losses are known; empty: not before the end.
        curves: `(R, N, K)`, the validation losses there.
        seconds: `(N,)`, CPU time of each run; None: not known.
        expected: `(N, K)`, the losses without noise; None: not known.
    """

    weights: np.ndarray
    rates: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    rungs: Sequence[float] = ()
    curves: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    seconds: np.ndarray | None = None
    expected: np.ndarray | None = None

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
        curves = self.curves[:, :, order] if len(self.rungs) else self.curves
        expected = None if self.expected is None else self.expected[:, order]
        return Grid(
            weights, self.rates, validation, test, self.rungs, curves, self.seconds, expected
        )


def made_up(
    tasks: int,
    ratio: float,
    noise: float,
    rates: int = 5,
    span: float = 0.5,
    steep: bool = False,
) -> Callable[[int], Grid]:
    """Returns what draws a grid of quadratic losses, whose minimum is known for all weights.

    On the way losses fall exponentially, with a speed that is proportional to the learning rate and
    to the task's weight: a task that counts little, and a small rate, are late.

    Args:
        tasks: Their number.
        ratio: Between the largest and the smallest curvature of the losses.
        noise: Standard deviation, in widths of the front.
        rates: Learning rates; the best one lies somewhere between them.
        span: The part of their range, around its middle, in which it lies.
        steep: Whether the loss grows faster at high rates than at low ones, and not as a parabola.
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
        centre = generator.uniform(-span, span)
        away = places - centre
        cost = 0.3 * (np.exp(2 * away) - 1 - 2 * away) if steep else 0.6 * away**2  # In widths.
        every = losses[:, None, :] + cost[None, :, None] * width
        every = every.reshape(-1, tasks)
        validation, test = (
            every + noise * width * generator.normal(size=every.shape) for _ in range(2)
        )
        repeated = np.repeat(weights, rates, axis=0)
        given = np.tile(10.0**places, len(weights))
        speed = _FALL * tasks * repeated * (given / 10**centre)[:, None]
        above = [_ABOVE * width * (np.exp(-speed * t) - np.exp(-speed)) for t in _RUNGS]
        curves = np.array([every + each for each in above])
        curves += noise * width * generator.normal(size=curves.shape)
        return Grid(repeated, given, validation, test, _RUNGS, curves, expected=every)

    return draw


def of_table(path: Path) -> Grid:
    """Returns the static runs of a report's table of runs, one seed of each."""
    runs = _static(pd.read_csv(path))
    weights = pd.DataFrame([ast.literal_eval(text) for text in runs["task_weights"]])
    return Grid(_whole(weights), runs[RATE].to_numpy(float), *_losses(runs, weights))


def of_study(folder: str) -> Grid:
    """Returns the static runs of a study folder, one seed of each."""
    from mtk.analysis import load

    runs = _static(load(folder))
    weights = pd.DataFrame(list(runs["task_weights"]))
    rungs, curves = _on_the_way([Path(path) for path in runs["path"]], list(weights))
    rates = runs[RATE].to_numpy(float)
    seconds = runs["cpu_seconds"].to_numpy(float) if "cpu_seconds" in runs else None
    return Grid(_whole(weights), rates, *_losses(runs, weights), rungs, curves, seconds)


def _static(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs[runs["status"].isin(["finished", "diverged"]) & (runs["role"] == "baseline")]
    return runs.drop_duplicates("configuration")


def _whole(weights: pd.DataFrame) -> np.ndarray:
    """Returns weights to the digits that were asked for: they are float32 in a run's record."""
    whole = weights.to_numpy(float).round(6)
    return (whole / whole.sum(1, keepdims=True)).round(6)


def _losses(runs: pd.DataFrame, weights: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    lost = runs["status"].to_numpy() == "diverged"  # Such a run has been validated on the way.
    validation, test = (
        np.where(lost[:, None], np.nan, runs[[f"{split}/{task}/loss" for task in weights]])
        for split in ("validation", "test")
    )
    return validation, test


def _on_the_way(runs: Sequence[Path], tasks: Sequence[str]) -> tuple[list[float], np.ndarray]:
    """Returns the shares of the evaluations at or after each rung, and the losses there."""
    known = []
    for run in runs:
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses = [x for x in lines if (x["split"], x["name"]) == ("validation", "loss")]
        known.append({(x["step"], x["task"]): x["value"] for x in losses})
    steps = sorted({step for run in known for step, _ in run})
    found = dict.fromkeys(min(s for s in steps if s >= share * steps[-1]) for share in _RUNGS)
    curves = [[[run.get((step, t), np.nan) for t in tasks] for run in known] for step in found]
    return [step / steps[-1] for step in found], np.array(curves, float)


def same(*grids: Grid) -> Callable[[int], Grid]:
    """Returns what gives one grid after the other, with its tasks in an order that is drawn."""

    def draw(seed: int) -> Grid:
        grid = grids[seed % len(grids)]
        return grid.ordered(np.random.default_rng(seed).permutation(grid.weights.shape[1]))

    return draw
