"""Figure 6, right: the ranking of methods as the evaluation's weights move."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import indicators
from mtk.analysis.figures.style import figure, label, legend_of, line_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

_EVERY = 10  # Of the weightings, one in so many carries a marker.


def compared(view: StudyView) -> pd.DataFrame:
    """Returns what each method reaches for every weighting of the tasks, in units of the metric.

    Raises:
        UnavailableError: If there are no two methods to compare.
    """
    space = view.spaces.loss
    if len(view.spaces[space]) < 2:
        raise UnavailableError("there is one task only")
    named = {name: view.candidates(name, space) for name in [STATIC, *view.methods]}
    if sum(len(models) > 0 for models in named.values()) < 2:
        raise UnavailableError("fewer than two methods have comparable runs")
    return indicators.utilities(named, np.ones(len(view.spaces[space])))


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curves: what each method reaches in test, a row for each weighting."""
    return compared(view).reset_index(allow_duplicates=True)


def draw(view: StudyView) -> Figure:
    """Draws how far each method is behind the best one, over the first task's weight."""
    found = compared(view)
    chosen = view.spaces[view.spaces.loss]
    if len(chosen) != 2:
        raise UnavailableError("drawn for two tasks; the table of ranks holds any number")
    gaps = found.sub(found.min(axis=1), axis=0)
    drawn = figure(7.2, 4.6)
    axis = drawn.subplots()
    for number, method in enumerate(gaps):
        style = line_of(method, view.methods)
        offset = (number % _EVERY, _EVERY)
        axis.plot(gaps.index, gaps[method], label=label(method), markevery=offset, ms=6, **style)
    axis.set_xlabel(f"weight of {chosen[0].task} in the evaluation (the rest: {chosen[1].task})")
    axis.set_ylabel(f"weighted {chosen[0].metric}, test:\nbehind the best method (lower is better)")
    legend_of(drawn, axis)
    drawn.suptitle(f"{view.title}: configurations chosen by validation for each weighting")
    return drawn
