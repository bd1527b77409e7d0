"""Figures 10 and 11: the mean over tasks, as hyper-parameters move."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtk.analysis import objectives
from mtk.analysis.figures.style import UnavailableError, figure, legend_below, look
from mtk.analysis.view import STATIC, View

_RATE = "experiment.run.learning_rate"


def space_of_means(view: View) -> str:
    """Returns the set of objectives whose mean is taken: a metric of all tasks, not the loss."""
    shared = [name for name, own in view.spaces.items() if len({o.metric for o in own}) == 1]
    if not shared:
        raise UnavailableError("the tasks share no metric whose mean would mean anything")
    return next((name for name in shared if name != "loss"), shared[0])


def means(view: View, method: str, split: str) -> np.ndarray:
    """Returns `(N,)` means over tasks of a method's configurations, NaN if not comparable."""
    own, chosen = view.of(method), view.spaces[space_of_means(view)]
    values = objectives.points(own, chosen, split).mean(1) * chosen[0].sign
    return np.where(own["comparable"], values, np.nan)


def draw(view: View) -> Figure:
    """Draws the mean of every configuration, in validation and in test (Figure 10)."""
    objective = view.spaces[space_of_means(view)][0]
    every = [STATIC, *view.methods]
    names = [name for name in every if np.isfinite(means(view, name, "test")).any()]
    if not names:
        raise UnavailableError("no method has comparable runs")
    drawn = figure(11, 1.6 + 0.42 * len(names))
    axes = drawn.subplots(1, 2, sharey=True, sharex=True)
    for axis, split in zip(axes, ("validation", "test"), strict=True):
        for row, name in enumerate(names):
            values, style = means(view, name, split), look(name, view.methods)
            jitter = np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
            axis.plot(values, row + jitter, ".", color=style["color"], ms=5, alpha=0.5)
            best = np.nanargmin(means(view, name, "validation") * objective.sign)
            axis.plot(values[best], row, ms=9, mec="black", mew=0.8, **style)
        what = f"mean {objective.metric} over {len(view.tasks)} tasks"
        axis.set_xlabel(f"{what} ({objective.direction})")
        axis.set_title(split)
        axis.set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    _clip(axes[0], np.concatenate([means(view, name, "test") for name in names]))
    drawn.suptitle(f"{view.title}: every configuration; large: the best in validation")
    return drawn


def _clip(axis: Axes, values: np.ndarray) -> None:
    """Leaves out the worst tenth where it would squeeze everything else."""
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.1, 0.9])
    wide = 1.5 * (high - low)
    if high > low:
        left, right = max(values.min(), low - wide), min(values.max(), high + wide)
        axis.set_xlim(left - 0.05 * wide, right + 0.05 * wide)


def draw_by_rate(view: View) -> Figure:
    """Draws the mean in test over the learning rate (Figure 11).

    Of the configurations with a learning rate, validation chooses one.
    """
    objective = view.spaces[space_of_means(view)][0]
    if _RATE not in view.found or view.found[_RATE].nunique() < 2:
        raise UnavailableError("the study has one learning rate only")
    drawn = figure(7.2, 4.8)
    axis = drawn.subplots()
    for name in [STATIC, *view.methods]:
        own = view.of(name)[[_RATE]].assign(
            validation=means(view, name, "validation") * objective.sign,
            test=means(view, name, "test"),
        )
        own = own.dropna()
        best = own.loc[own.groupby(_RATE)["validation"].idxmin()] if len(own) else own
        axis.plot(best[_RATE], best["test"], label=name, ms=7, **look(name, view.methods))
    axis.set_xscale("log")
    axis.set_xlabel("learning rate")
    axis.set_ylabel(f"mean {objective.metric} over tasks, test ({objective.direction})")
    handles, labels = axis.get_legend_handles_labels()
    legend_below(drawn, handles, labels)
    drawn.suptitle(f"{view.title}: other hyper-parameters chosen by validation")
    return drawn
