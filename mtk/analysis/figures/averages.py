"""Figures 10 and 11: the mean over tasks, as hyperparameters move."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures import hyperparameters
from mtk.analysis.figures.style import figure, label, legend_of, line_of, style_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView, means, space_of_means

_SPLITS = ("validation", "test")


def draw(view: StudyView) -> Figure:
    """Draws the mean of every configuration, in validation and in test (Figure 10)."""
    objective = view.spaces[space_of_means(view)][0]
    panels = {
        name: np.stack([means(view, name, split) for split in _SPLITS])
        for name in [STATIC, *view.methods]
    }
    panels = {name: both for name, both in panels.items() if np.isfinite(both).all(0).any()}
    if not panels:
        raise UnavailableError("no method has comparable runs")
    selected = {name: both[:, _best(both, objective.sign)] for name, both in panels.items()}
    limits = _limits(np.hstack(list(panels.values())), np.stack(list(selected.values())))
    drawn = figure(11, 1.6 + 0.42 * len(panels))
    axes = drawn.subplots(1, 2, sharey=True, sharex=True)
    for number, (axis, split) in enumerate(zip(axes, _SPLITS, strict=True)):
        for row, (name, both) in enumerate(panels.items()):
            style = style_of(name, view.methods)
            jitter = np.random.default_rng(0).uniform(-0.18, 0.18, both.shape[1])
            axis.plot(both[number], row + jitter, ".", color=style["color"], ms=5, alpha=0.5)
            axis.plot(selected[name][number], row, ms=9, mec="black", mew=0.8, **style)
        what = f"mean {objective.metric} over {len(view.tasks)} tasks"
        axis.set_xlabel(f"{what} ({objective.direction})")
        every = np.concatenate([both[number] for both in panels.values()])
        axis.set_title(split + _outside(every, limits))
        axis.set_yticks(range(len(panels)), list(panels))
    axes[0].set_xlim(limits)
    axes[0].invert_yaxis()
    drawn.suptitle(f"{view.title}: every configuration; large: the best in validation")
    return drawn


def _best(both: np.ndarray, sign: int) -> int:
    """Returns the position of the best in validation, of values `(2, N)` in both splits."""
    return int(np.where(np.isfinite(both).all(0), both[0] * sign, np.inf).argmin())


def _limits(values: np.ndarray, selected: np.ndarray) -> tuple[float, float]:
    """Returns limits that leave out the worst where it would squeeze everything else.

    Args:
        values: Of all panels, in any shape.
        selected: Those that must be seen.
    """
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.1, 0.9])
    wide = 1.5 * (high - low) or np.inf
    left = min(max(values.min(), low - wide), selected.min())
    right = max(min(values.max(), high + wide), selected.max())
    margin = 0.05 * (right - left) or 0.05 * abs(left) or 1.0
    return left - margin, right + margin


def _outside(values: np.ndarray, limits: tuple[float, float]) -> str:
    """Returns a panel's remark on what it does not show."""
    number = int(((values < limits[0]) | (values > limits[1])).sum())
    return f" ({number} of {np.isfinite(values).sum()} are outside)" if number else ""


def draw_by_rate(view: StudyView) -> Figure:
    """Draws the mean in test over the learning rate (Figure 11).

    Of the configurations with a learning rate, validation chooses one.
    """
    objective = view.spaces[space_of_means(view)][0]
    rates = hyperparameters.numbers(view.found, hyperparameters.LEARNING_RATE)
    if rates.nunique() < 2:
        raise UnavailableError("the study has one learning rate only")
    drawn = figure(7.2, 4.8)
    axis = drawn.subplots()
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
    hyperparameters.set_scale(axis, "x", rates.dropna().to_numpy())
    axis.set_xlabel("learning rate")
    axis.set_ylabel(f"mean {objective.metric} over tasks, test ({objective.direction})")
    legend_of(drawn, axis)
    drawn.suptitle(f"{view.title}: other hyperparameters chosen by validation")
    return drawn
