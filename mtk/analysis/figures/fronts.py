"""Trade-offs between two tasks: the form of the paper's Figures 2, 4, 5, 8 and 12 to 16."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import metric_sets, run_table
from mtk.analysis.figures.style import figure, label, legend_below, look
from mtk.analysis.fronts import non_dominated
from mtk.analysis.metric_sets import Objective, UnavailableError
from mtk.analysis.select import STATIC, candidates
from mtk.analysis.study_view import StudyView

# Above this number of tasks, pairs of them are too many to be read.
_MOST_TASKS = 4
# Limits leave this share of the selected models' spread as a margin.
_MARGIN = 0.35

_SAYS = {
    "test": "test at the step that validation chose",
    "validation": "validation at its best step",
    "train": "training set at the last step",
}


def draw(view: StudyView, panels: Sequence[tuple[str, str]], everything: bool = False) -> Figure:
    """Draws the fronts of all methods.

    Large markers are the models that validation selects (in training panels: those that are not
    dominated in training), small ones all others. The line is the staircase of the static weights.

    Args:
        view: The study.
        panels: Names of a set of objectives and of a split, for each panel.
        everything: Show all models, however bad; otherwise the neighbourhood of the selected ones.
    """
    pairs = _pairs(view, panels)
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    drawn = figure(4.6 * columns + 0.4, 4.1 * rows + 0.9)
    axes = drawn.subplots(rows, columns, squeeze=False).ravel()
    for axis, (space, split, pair) in zip(axes, pairs, strict=False):
        _panel(axis, view, space, split, pair, everything)
    for axis in axes[len(pairs) :]:
        axis.remove()
    handles = {}
    for axis in axes[: len(pairs)]:
        handles.update(dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True)))
    legend_below(drawn, list(handles.values()), list(handles))
    drawn.suptitle(view.title)
    return drawn


def _pairs(
    view: StudyView, panels: Sequence[tuple[str, str]]
) -> list[tuple[str, str, tuple[Objective, Objective]]]:
    for space, split in panels:
        if space not in view.spaces:
            raise UnavailableError(f"no run has the metric {space!r} for every task")
        number = len(view.spaces[space])
        if not 2 <= number <= _MOST_TASKS:
            raise UnavailableError(f"drawn for two to {_MOST_TASKS} tasks; this study has {number}")
        if not np.isfinite(metric_sets.points(view.found, view.spaces[space], split)).any():
            raise UnavailableError(f"no run has values of {space!r} in {split}")
    return [
        (space, split, pair)
        for space, split in panels
        for pair in itertools.combinations(view.spaces[space], 2)
    ]


def _panel(
    axis: Axes,
    view: StudyView,
    space: str,
    split: str,
    pair: tuple[Objective, Objective],
    everything: bool,
) -> None:
    """Draws one panel: what is selected looks at all tasks, what is shown at two."""
    near = []
    for method in [*view.methods, STATIC]:
        own = view.of(method)
        chosen = _chosen(own, view.spaces[space], split)
        x, y = (own[objective.column(split)].to_numpy(float) for objective in pair)
        style = look(method, view.methods)
        rest = np.setdiff1d(np.flatnonzero(own["comparable"]), chosen)
        axis.plot(x[rest], y[rest], ls="none", ms=3, mew=0.3, alpha=0.5, **style)
        if not len(chosen):
            continue
        place = np.stack([x[chosen], y[chosen]], axis=1)
        error = _spread(view, own.iloc[chosen], pair, split)
        style["label"] = label(method)
        axis.errorbar(
            x[chosen], y[chosen], xerr=error[:, 0], yerr=error[:, 1], ls="none",
            ms=6 if method == STATIC else 8, mec="white", mew=0.6, elinewidth=0.9, **style
        )  # fmt: skip
        if method == STATIC and len(view.spaces[space]) == 2:
            _staircase(axis, place, pair)
        near += [place - np.nan_to_num(error), place + np.nan_to_num(error)]
    axis.set_xlabel(f"{pair[0].task}: {pair[0].metric} ({pair[0].direction})")
    axis.set_ylabel(f"{pair[1].task}: {pair[1].metric} ({pair[1].direction})")
    axis.set_title(_SAYS[split])
    if near and not everything:
        _zoom(axis, np.concatenate(near))


def _chosen(own: pd.DataFrame, chosen: list[Objective], split: str) -> np.ndarray:
    """Returns the positions of the selected models in the table of a method."""
    models = candidates(own, chosen)
    if split != "train":
        return models.rows[models.selected]
    values = metric_sets.points(own, chosen, "train")
    rows = np.flatnonzero(own["comparable"].to_numpy(bool) & np.isfinite(values).all(1))
    return rows[non_dominated(values[rows])]


def _spread(
    view: StudyView, own: pd.DataFrame, pair: tuple[Objective, Objective], split: str
) -> np.ndarray:
    """Returns one standard deviation over seeds `(N, 2)`, NaN without repeats."""
    columns = [objective.column(split) for objective in pair]
    runs = run_table.with_setting(view.table)[lambda t: t["status"] == "finished"]
    keys = ["method", "configuration"]
    deviations = runs.groupby(keys)[columns].std()
    return deviations.reindex(pd.MultiIndex.from_frame(own[keys])).to_numpy(float)


def _staircase(axis: Axes, points: np.ndarray, pair: tuple[Objective, Objective]) -> None:
    """Draws the border of what the points weakly dominate."""
    signs = np.array([objective.sign for objective in pair])
    front = points[non_dominated(points * signs)]
    front = front[np.argsort(front[:, 0] * signs[0])]
    # From the better end of the first task on, its value is kept until the next model.
    axis.step(*front.T, where="post", color="black", lw=1.2, zorder=1)


def _zoom(axis: Axes, near: np.ndarray) -> None:
    low, high = near.min(0), near.max(0)
    margin = _MARGIN * np.where(high > low, high - low, np.abs(high) * 0.05 + 1e-6) * 0.5
    axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
