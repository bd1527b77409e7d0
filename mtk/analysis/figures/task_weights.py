"""Figure 3: the task weights that methods choose during training."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import metric_sets
from mtk.analysis.figures.style import COLORS, MARKERS, figure, label, legend_below
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView
from mtk.analysis.weights import weights_over_time

_MOST_TASKS = 8
# Tasks that are called as a column of the table is.
_COLUMNS = {name: f"task {name}" for name in ("method", "run", "step")}


def draw(view: StudyView) -> Figure:
    """Draws the weights of each method's run with the best mean loss in validation."""
    if len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"{len(view.tasks)} tasks are too many curves for one panel")
    found = _found(view)
    columns = min(len(found), 4)
    rows = -(-len(found) // columns)
    drawn = figure(3.4 * columns + 0.4, 2.7 * rows + 0.7)
    axes = drawn.subplots(rows, columns, squeeze=False, sharey=True)
    for axis, (method, (weights, words)) in zip(axes.flat, found.items(), strict=False):
        _panel(axis, weights, view.tasks)
        axis.set_title(f"{method}\n{words}" if words else method)
    for axis in list(axes.flat)[len(found) :]:
        axis.remove()
    for axis in axes[:, 0]:
        axis.set_ylabel("weight (share of the sum)")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    drawn.suptitle(f"{view.title}: task weights, means between two evaluations")
    return drawn


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curves of the figure: a row for each method and evaluation."""
    parts = [
        weights.rename(columns=_COLUMNS).reset_index().assign(method=method, run=words)
        for method, (weights, words) in _found(view).items()
    ]
    return pd.concat(parts, ignore_index=True).set_index(["method", "run"]).reset_index()


def _found(view: StudyView) -> dict[str, tuple[pd.DataFrame, str]]:
    found = {method: weights for method in view.methods if (weights := _weights(view, method))}
    if not found:
        raise UnavailableError("no method recorded task weights over time")
    return found


def _weights(view: StudyView, method: str) -> tuple[pd.DataFrame, str] | None:
    """Returns the weights of a method's best run, and its learning rate in words."""
    runs = view.runs(method)[lambda t: t["status"] == "finished"]
    order = metric_sets.points(runs, view.spaces[view.spaces.loss], "validation").mean(1).argsort()
    for row in runs.iloc[order].to_dict("records"):
        try:
            weights = weights_over_time(row["path"])
        except OSError:
            continue
        if not weights.empty:
            rate = row.get("experiment.run.learning_rate")
            words = f"learning rate {rate:g}" if isinstance(rate, (int, float)) else ""
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
    axis.set_xlabel("training step")
