"""Figure 6, right: the ranking of methods as a function of the evaluation's weights."""

import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import indicators
from mtk.analysis.figures.style import label, legend_of, line_of, panel
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView

_EVERY = 10  # Every tenth weighting has a marker.


def compared(view: StudyView) -> pd.DataFrame:
    """Returns each method's result for every weighting of the tasks, in its `units`.

    Raises:
        UnavailableError: If there are fewer than two methods, or the losses have no common unit.
    """
    space = view.spaces.loss
    if len(view.spaces[space]) < 2:
        raise UnavailableError("there is only one task")
    units = view.units[space]
    if units is None:
        raise UnavailableError("the losses of the tasks have different units")
    named = view.all_candidates(space)
    if len(named) < 2:
        raise UnavailableError("fewer than two methods have comparable runs")
    return indicators.utilities(named, units)


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curves: each method's result on test, one row per weighting."""
    return compared(view).reset_index(allow_duplicates=True)


def rank_table(view: StudyView) -> pd.DataFrame:
    """Returns the ranks of methods over all weightings of the tasks in the evaluation."""
    ranks = indicators.ranks(compared(view))
    found = pd.DataFrame({"mean rank": ranks.mean(), "best": ranks.min(), "worst": ranks.max()})
    first = (ranks == 1).mean().rename("share of weightings ranked first")
    return found.join(first).rename_axis("method").reset_index()


def draw(view: StudyView) -> Figure:
    """Draws the distance of each method to the best one over the first task's weight."""
    found = compared(view)
    chosen = view.spaces.losses
    if len(chosen) != 2:
        raise UnavailableError("only for two tasks; the table of ranks covers any number of tasks")
    gaps = found.sub(found.min(axis=1), axis=0)
    title = f"{view.title}: for each weighting, the configuration selected on validation"
    drawn, axis = panel(7.2, 4.6, title)
    for number, method in enumerate(gaps):
        style = line_of(method, view.methods) | {"markevery": (number % _EVERY, _EVERY)}
        axis.plot(gaps.index, gaps[method], label=label(method), ms=6, **style)
    axis.set_xlabel(f"weight of {chosen[0].task} in the evaluation (remainder: {chosen[1].task})")
    unit = view.in_units(view.spaces.loss)
    axis.set_ylabel(
        f"weighted {chosen[0].metric}, test{unit}:\ndistance to the best method (lower is better)"
    )
    legend_of(drawn, axis)
    return drawn
