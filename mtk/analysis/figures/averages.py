"""Figures 10 and 11: the mean over tasks as a function of hyperparameters."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures import hyperparameters
from mtk.analysis.figures.limits import near, outside
from mtk.analysis.figures.style import figure, label, legend_of, line_of, panel, style_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.run_table import LEARNING_RATE
from mtk.analysis.study_view import StudyView

_SPLITS = ("validation", "test")


def draw(view: StudyView) -> Figure:
    """Draws the mean of every configuration, on validation and on test (Figure 10)."""
    objective, unit = view.spaces[view.space_of_means][0], view.in_units(view.space_of_means)
    every, best = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for name in view.labels:
        first, own = (
            np.stack([runs.means(name, split) for split in _SPLITS])
            for runs in (view.first_stage, view)
        )
        known = np.isfinite(own).all(0)
        if known.any():
            every[name] = first
            best[name] = own[:, np.where(known, own[0] * objective.sign, np.inf).argmin()]
    if not every:
        raise UnavailableError("no method has comparable runs")
    values = np.hstack(list(every.values()))
    limits = near(values, objective.sign, list(best.values()))
    title = f"{view.title}: all configurations; large: the best on validation among those measured"
    drawn = figure(11, 1.6 + 0.42 * len(every), title)
    axes = drawn.subplots(1, 2, sharey=True, sharex=True)
    for number, (axis, split) in enumerate(zip(axes, _SPLITS, strict=True)):
        for row, (name, first) in enumerate(every.items()):
            style = style_of(name, view.methods)
            jitter = np.random.default_rng(0).uniform(-0.18, 0.18, first.shape[1])
            axis.plot(first[number], row + jitter, ".", color=style["color"], ms=5, alpha=0.5)
            axis.plot(best[name][number], row, ms=9, mec="black", mew=0.8, **style)
        what = f"mean {objective.metric} over {len(view.tasks)} tasks{unit}"
        axis.set_xlabel(f"{what} ({objective.direction})")
        axis.set_title(split + outside(values[number], limits))
        axis.set_yticks(range(len(every)), list(every))
    axes[0].set_xlim(limits)
    axes[0].invert_yaxis()
    return drawn


def draw_by_rate(view: StudyView) -> Figure:
    """Draws the mean on test over the learning rate (Figure 11).

    For each method and learning rate, one configuration is selected on validation.
    """
    objective = view.spaces[view.space_of_means][0]
    title, view = f"{view.title}: other hyperparameters selected on validation", view.first_stage
    rates = hyperparameters.numbers(view.found, LEARNING_RATE)
    if rates.nunique() < 2:
        raise UnavailableError("the study has only one learning rate")
    drawn, axis = panel(7.2, 4.8, title)
    reached = []
    for name in view.labels:
        columns = {
            "rate": rates[view.of(name).index],
            "validation": view.means(name, "validation") * objective.sign,
            "test": view.means(name, "test"),
        }
        own = pd.DataFrame(columns).dropna().sort_values("validation", kind="stable")
        best = own.drop_duplicates("rate").sort_values("rate")
        axis.plot(best["rate"], best["test"], label=label(name), **line_of(name, view.methods))
        reached.append(best["test"].to_numpy())
    values = np.concatenate(reached)
    if not len(values):
        raise UnavailableError("no method has comparable runs")
    axis.set_ylim(limits := near(values, objective.sign))
    axis.set_title(f"test{outside(values, limits)}")
    hyperparameters.set_scale(axis, "x", rates.dropna().to_numpy())
    axis.set_xlabel("learning rate")
    said = f"mean {objective.metric} over tasks, test{view.in_units(view.space_of_means)}"
    axis.set_ylabel(f"{said}\n({objective.direction})")
    legend_of(drawn, axis)
    return drawn
