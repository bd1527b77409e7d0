"""Figure 3: the task weights that methods choose during training."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import objectives
from mtk.analysis.figures.hyperparameters import LEARNING_RATE, numbers
from mtk.analysis.figures.style import COLORS, MARKERS, grid_of, label, legend_of
from mtk.analysis.unavailable import UnavailableError
from mtk.analysis.view import View
from mtk.analysis.weights import weights_over_time

_MOST_TASKS = 8
# Tasks that are called as a column of the table is.
_COLUMNS = {name: f"task {name}" for name in ("method", "run", "step")}


def draw(view: View) -> Figure:
    """Draws the weights of each method's best run in validation, all at one learning rate."""
    if len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"{len(view.tasks)} tasks are too many curves for one panel")
    found = _found(view)
    drawn, axes = grid_of(len(found), 4, 3.2, 2.6)
    for number, (axis, (method, (weights, words))) in enumerate(
        zip(axes, found.items(), strict=True)
    ):
        _panel(axis, weights, view.tasks)
        axis.set_title(f"{method}\n{words}" if words else method)
        if number % 4 == 0:
            axis.set_ylabel("weight (share of the sum)")
    legend_of(drawn, axes[0])
    drawn.suptitle(f"{view.title}: task weights")
    return drawn


def table(view: View) -> pd.DataFrame:
    """Returns the curves of the figure: a row for each method and evaluation."""
    parts = [
        weights.rename(columns=_COLUMNS).reset_index().assign(method=method, run=words)
        for method, (weights, words) in _found(view).items()
    ]
    return pd.concat(parts, ignore_index=True).set_index(["method", "run"]).reset_index()


def _found(view: View) -> dict[str, tuple[pd.DataFrame, str]]:
    rate = _common_rate(view)
    found = {m: weights for m in view.methods if (weights := _weights(view, m, rate))}
    if not found:
        raise UnavailableError("no method recorded task weights over time")
    return found


def _common_rate(view: View) -> float:
    """Returns the learning rate that most methods have; of several, the best in validation."""
    runs = pd.concat([view.table.iloc[:0], *(_finished(view, name) for name in view.methods)])
    runs = runs.assign(rate=numbers(runs, LEARNING_RATE), loss=_mean_loss(view, runs))
    by_rate = runs.dropna(subset="rate").groupby("rate")
    ranking = pd.DataFrame({"methods": -by_rate["method"].nunique(), "loss": by_rate["loss"].min()})
    return float(ranking.sort_values(["methods", "loss"]).index[0]) if len(ranking) else np.nan


def _finished(view: View, method: str) -> pd.DataFrame:
    return view.runs(method)[lambda t: t["status"] == "finished"]


def _mean_loss(view: View, runs: pd.DataFrame) -> np.ndarray:
    return objectives.points(runs, view.spaces[view.spaces.loss], "validation").mean(1)


def _weights(view: View, method: str, rate: float) -> tuple[pd.DataFrame, str] | None:
    """Returns the weights of a method's best run at a rate, else of all; and its rate in words."""
    runs = _finished(view, method)
    elsewhere = (numbers(runs, LEARNING_RATE) != rate).to_numpy()
    for row in runs.iloc[np.lexsort((_mean_loss(view, runs), elsewhere))].to_dict("records"):
        try:
            weights = weights_over_time(row["path"])
        except OSError:
            continue
        if not weights.empty:
            own = row.get(LEARNING_RATE)
            words = f"learning rate {own:g}" if isinstance(own, (int, float)) else ""
            return weights, words
    return None


def _panel(axis: Axes, weights: pd.DataFrame, tasks: list[str]) -> None:
    shares = weights.div(weights.sum(axis=1), axis=0)
    for number, task in enumerate(name for name in tasks if name in shares):
        every = max(1, len(shares) // 8)
        style: dict[str, Any] = {
            "color": COLORS[number],
            "marker": MARKERS[number],
            "markevery": every,
        }
        axis.plot(shares.index, shares[task], label=label(task), ms=5, **style)
    axis.axhline(1 / max(len(shares.columns), 1), color="#888888", lw=0.8, ls=":")
    axis.set(xlabel="training step", ylim=(0, 1))
