"""Figure 3: the task weights that methods choose during training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import metric_sets
from mtk.analysis.figures.hyperparameters import LEARNING_RATE, numbers
from mtk.analysis.figures.style import COLORS, MARKERS, grid_of, label, legend_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView
from mtk.analysis.weights import weights_over_time

_MOST_TASKS = 8
# Tasks that are called as a column of the table is.
_COLUMNS = {name: f"task {name}" for name in ("method", "run", "step")}


@dataclass(frozen=True)
class _Weights:
    """A run's learning rate in words, and its weights: a column for each task.

    Means between two evaluations; percentiles 5 and 95 of single steps, empty if not recorded.
    """

    words: str
    mean: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame


def draw(view: StudyView) -> Figure:
    """Draws the weights of each method's best run in validation, all at one learning rate."""
    if len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"{len(view.tasks)} tasks are too many curves for one panel")
    found = _found(view)
    drawn, axes = grid_of(len(found), 4, 3.2, 2.6)
    for number, (axis, (method, own)) in enumerate(zip(axes, found.items(), strict=True)):
        _panel(axis, own, view.tasks)
        axis.set_title(f"{method}\n{own.words}" if own.words else method)
        if number % 4 == 0:
            axis.set_ylabel("weight (share of the sum)")
    legend_of(drawn, axes[0])
    drawn.suptitle(f"{view.title}: task weights")
    return drawn


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curves of the figure: a row for each method and evaluation."""
    parts = []
    for method, own in _found(view).items():
        bands = [own.low.add_suffix(", 5 %"), own.high.add_suffix(", 95 %")]
        joined = own.mean.rename(columns=_COLUMNS).join([band for band in bands if len(band)])
        parts.append(joined.reset_index().assign(method=method, run=own.words))
    return pd.concat(parts, ignore_index=True).set_index(["method", "run"]).reset_index()


def _found(view: StudyView) -> dict[str, _Weights]:
    rate = _common_rate(view)
    found = {m: weights for m in view.methods if (weights := _weights(view, m, rate))}
    if not found:
        raise UnavailableError("no method recorded task weights over time")
    return found


def _common_rate(view: StudyView) -> float:
    """Returns the learning rate that most methods have; of several, the best in validation."""
    runs = pd.concat([view.table.iloc[:0], *(_finished(view, name) for name in view.methods)])
    runs = runs.assign(rate=numbers(runs, LEARNING_RATE), loss=_mean_loss(view, runs))
    by_rate = runs.dropna(subset="rate").groupby("rate")
    ranking = pd.DataFrame({"methods": -by_rate["method"].nunique(), "loss": by_rate["loss"].min()})
    return float(ranking.sort_values(["methods", "loss"]).index[0]) if len(ranking) else np.nan


def _finished(view: StudyView, method: str) -> pd.DataFrame:
    return view.runs(method)[lambda t: t["status"] == "finished"]


def _mean_loss(view: StudyView, runs: pd.DataFrame) -> np.ndarray:
    return metric_sets.points(runs, view.spaces[view.spaces.loss], "validation").mean(1)


def _weights(view: StudyView, method: str, rate: float) -> _Weights | None:
    """Returns the weights of a method's best run at a rate, else of all."""
    runs = _finished(view, method)
    elsewhere = (numbers(runs, LEARNING_RATE) != rate).to_numpy()
    for row in runs.iloc[np.lexsort((_mean_loss(view, runs), elsewhere))].to_dict("records"):
        try:
            found = [
                weights_over_time(row["path"], name)
                for name in ("weight", "weight_low", "weight_high")
            ]
        except OSError:
            continue
        if not found[0].empty:
            own = row.get(LEARNING_RATE)
            words = f"learning rate {own:g}" if isinstance(own, (int, float)) else ""
            return _Weights(words, *found)
    return None


def _panel(axis: Axes, weights: _Weights, tasks: list[str]) -> None:
    shares = weights.mean.div(weights.mean.sum(axis=1), axis=0)
    for number, task in enumerate(name for name in tasks if name in shares):
        every = max(1, len(shares) // 8)
        style: dict[str, Any] = {
            "color": COLORS[number],
            "marker": MARKERS[number],
            "markevery": every,
        }
        axis.plot(shares.index, shares[task], label=label(task), ms=5, **style)
        if task in weights.low and task in weights.high:
            band = weights.low[task], weights.high[task]
            axis.fill_between(weights.low.index, *band, color=COLORS[number], alpha=0.18, lw=0)
    axis.axhline(1 / max(len(shares.columns), 1), color="#888888", lw=0.8, ls=":")
    axis.set(xlabel="training step", ylim=(0, 1))
