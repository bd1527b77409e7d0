"""Figures 10 and 11: the mean over tasks, as hyperparameters move."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures import hyperparameters
from mtk.analysis.figures.limits import near, outside
from mtk.analysis.figures.style import figure, label, legend_of, line_of, style_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView, means, space_of_means

_SPLITS = ("validation", "test")


def draw(view: StudyView) -> Figure:
    """Draws the mean of every configuration, in validation and in test (Figure 10)."""
    objective = view.spaces[space_of_means(view)][0]
    found = {
        name: (_both(view.first_stage, name), _both(view, name)) for name in [STATIC, *view.methods]
    }
    found = {name: own for name, own in found.items() if np.isfinite(own[1]).all(0).any()}
    if not found:
        raise UnavailableError("no method has comparable runs")
    every = np.hstack([first for first, _ in found.values()])
    best = {name: own[:, _best(own, objective.sign)] for name, (_, own) in found.items()}
    limits = near(every, objective.sign, np.stack(list(best.values())))
    drawn = figure(11, 1.6 + 0.42 * len(found))
    axes = drawn.subplots(1, 2, sharey=True, sharex=True)
    for number, (axis, split) in enumerate(zip(axes, _SPLITS, strict=True)):
        for row, (name, (first, _)) in enumerate(found.items()):
            style = style_of(name, view.methods)
            jitter = np.random.default_rng(0).uniform(-0.18, 0.18, first.shape[1])
            axis.plot(first[number], row + jitter, ".", color=style["color"], ms=5, alpha=0.5)
            axis.plot(best[name][number], row, ms=9, mec="black", mew=0.8, **style)
        what = f"mean {objective.metric} over {len(view.tasks)} tasks"
        axis.set_xlabel(f"{what} ({objective.direction})")
        axis.set_title(split + outside(every[number], np.array(limits)))
        axis.set_yticks(range(len(found)), list(found))
    axes[0].set_xlim(limits)
    axes[0].invert_yaxis()
    drawn.suptitle(
        f"{view.title}: every configuration; large: the best in validation of those measured"
    )
    return drawn


def _both(view: StudyView, method: str) -> np.ndarray:
    return np.stack([means(view, method, split) for split in _SPLITS])


def _best(both: np.ndarray, sign: int) -> int:
    """Returns the position of the best in validation, of values `(2, N)` in both splits."""
    return int(np.where(np.isfinite(both).all(0), both[0] * sign, np.inf).argmin())


def draw_by_rate(view: StudyView) -> Figure:
    """Draws the mean in test over the learning rate (Figure 11).

    Of the configurations with a learning rate, validation chooses one.
    """
    objective = view.spaces[space_of_means(view)][0]
    view = view.first_stage
    rates = hyperparameters.numbers(view.found, hyperparameters.LEARNING_RATE)
    if rates.nunique() < 2:
        raise UnavailableError("the study has one learning rate only")
    drawn = figure(7.2, 4.8)
    axis = drawn.subplots()
    reached = [np.empty(0)]
    for name in [STATIC, *view.methods]:
        columns = {
            "rate": rates[view.of(name).index],
            "validation": means(view, name, "validation") * objective.sign,
            "test": means(view, name, "test"),
        }
        own = pd.DataFrame(columns).dropna()
        best = own.loc[own.groupby("rate")["validation"].idxmin()] if len(own) else own
        style = line_of(name, view.methods)
        axis.plot(best["rate"], best["test"], label=label(name), **style)
        reached.append(best["test"].to_numpy())
    values = np.concatenate(reached)
    if not len(values):
        raise UnavailableError("no method has comparable runs")
    axis.set_ylim(limits := near(values, objective.sign, np.empty(0)))
    axis.set_title(f"test{outside(values, np.array(limits))}")
    hyperparameters.set_scale(axis, "x", rates.dropna().to_numpy())
    axis.set_xlabel("learning rate")
    axis.set_ylabel(f"mean {objective.metric} over tasks, test ({objective.direction})")
    legend_of(drawn, axis)
    drawn.suptitle(f"{view.title}: other hyperparameters chosen by validation")
    return drawn
