"""Result of a method as a function of the cost of its search."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures.style import label, legend_of, line_of, panel, plain_ticks
from mtk.analysis.margins import widths
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curves: one row per method and number of configurations tried.

    Costs are in runs of static weights; results are means over tasks in widths of the static front.
    """
    space = view.spaces.loss
    static = view.first_stage.candidates(STATIC, space)
    scale = widths(static.front) if len(static) else np.ones(1)
    curves = pd.concat(view.search_curves(space, scale), names=["method", "tried"])
    return curves.droplevel("tried").reset_index()


def draw(view: StudyView) -> Figure:
    """Draws the mean over tasks that a random search reaches, over what it costs."""
    curves = table(view)
    title = f"{view.title}: best on validation so far, over all orders (band: 10 to 90 %)"
    drawn, axis = panel(7.2, 4.8, title)
    for name, curve in curves.groupby("method", sort=False):
        style = line_of(str(name), view.methods) | {"markevery": max(1, len(curve) // 8)}
        axis.plot(curve["cost"], curve["mean"], label=label(str(name)), ms=5, **style)
        band = curve["cost"], curve["low"], curve["high"]
        axis.fill_between(*band, color=style["color"], alpha=0.08, lw=0)
    axis.set_xscale("log")
    plain_ticks(axis.xaxis)
    axis.set_xlabel("compute spent, in runs of static weights")
    axis.set_ylabel(
        f"mean {view.spaces.loss} over tasks, test,\n"
        "in widths of the static front (lower is better)"
    )
    legend_of(drawn, axis)
    return drawn
