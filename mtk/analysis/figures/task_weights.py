"""Figure 3: the task weights that methods choose during training."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import metric_sets
from mtk.analysis.figures.hyperparameters import numbers
from mtk.analysis.figures.style import COLORS, MARKERS, grid_of, label, legend_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.run_table import LEARNING_RATE
from mtk.analysis.study_view import StudyView
from mtk.analysis.weights import weights_over_time

_MOST_TASKS = 8
_MEAN, _LOW, _HIGH = _KINDS = "weight", "weight_low", "weight_high"
# Columns for tasks whose name is that of another column.
_COLUMNS = {name: f"task {name}" for name in ("method", "run", "step")}


def draw(view: StudyView) -> Figure:
    """Draws the weights of each method's best run on validation, all at one learning rate."""
    if len(view.tasks) > _MOST_TASKS:
        raise UnavailableError(f"{len(view.tasks)} tasks are too many for one panel")
    found = _found(view)
    drawn, axes = grid_of(len(found), 4, 3.2, 2.6, f"{view.title}: task weights")
    for number, (axis, ((method, words), own)) in enumerate(zip(axes, found.items(), strict=True)):
        _panel(axis, own, view.tasks)
        axis.set_title(f"{method}\n{words}" if words else method)
        if number % 4 == 0:
            axis.set_ylabel("weight (share of the total)")
    legend_of(drawn, axes[0])
    return drawn


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curves of the figure, shares of the total: a row per method and evaluation."""
    parts = {}
    for key, own in _found(view).items():
        bands = [own[_LOW].add_suffix(", 5 %"), own[_HIGH].add_suffix(", 95 %")]
        mean = _shares(own[_MEAN]).rename(columns=_COLUMNS)
        parts[key] = mean.join([band for band in bands if len(band)]).reset_index()
    found = pd.concat(parts, names=["method", "run", None])
    return found.droplevel(2).reset_index()


def _found(view: StudyView) -> dict[tuple[str, str], dict[str, pd.DataFrame]]:
    """Returns the weights over time of each method's best run, by method and rate as text.

    Means between evaluations; 5th and 95th percentiles of single steps, empty if not recorded. The
    best run on validation at the learning rate that most methods share is used, or, without a run
    at that rate, the best one at another.
    """
    runs = metric_sets.finished(view.table)[lambda t: t["role"].isin(["method", "replay"])]
    values = metric_sets.selected_or_mean(runs, view.spaces.losses)
    runs = runs.assign(_rate=numbers(runs, LEARNING_RATE), _value=values)
    by_rate = runs.dropna(subset="_rate").groupby("_rate")
    ranking = pd.DataFrame(
        {"methods": -by_rate["method"].nunique(), "value": by_rate["_value"].min()}
    ).sort_values(["methods", "value"])
    common = ranking.index[0] if len(ranking) else np.nan
    found = {}
    for method in view.methods:
        own = runs[runs["method"] == method]
        order = np.lexsort((own["_value"], own["_rate"] != common))
        for row in own.iloc[order].to_dict("records"):
            try:
                weights = {kind: weights_over_time(row["path"], kind) for kind in _KINDS}
            except OSError:
                continue
            if not weights[_MEAN].empty:
                rate = row.get(LEARNING_RATE)
                words = f"learning rate {rate:g}" if isinstance(rate, (int, float)) else ""
                found[method, words] = weights
                break
    if not found:
        raise UnavailableError("no method recorded task weights over time")
    return found


def _shares(weights: pd.DataFrame) -> pd.DataFrame:
    """Returns each task's share of the weights: those of some methods do not sum to one."""
    return weights.div(weights.sum(axis=1), axis=0)


def _panel(axis: Axes, weights: Mapping[str, pd.DataFrame], tasks: list[str]) -> None:
    mean, low, high = (weights[kind] for kind in _KINDS)
    shares = _shares(mean)
    for number, task in enumerate(name for name in tasks if name in shares):
        axis.plot(
            shares.index, shares[task], label=label(task), ms=5, color=COLORS[number],
            marker=MARKERS[number], markevery=max(1, len(shares) // 8),
        )  # fmt: skip
        if task in low and task in high:
            band = low[task], high[task]
            axis.fill_between(low.index, *band, color=COLORS[number], alpha=0.18, lw=0)
    axis.axhline(1 / max(len(shares.columns), 1), color="#888888", lw=0.8, ls=":")
    axis.set(xlabel="training step", ylim=(0, 1))
