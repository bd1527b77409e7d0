"""Figure 7: what a larger model does to the front."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis import fronts
from mtk.analysis.figures.style import COLORS, MARKERS, UnavailableError, figure
from mtk.analysis.view import STATIC, View


def draw(views: list[View]) -> Figure:
    """Draws the static fronts of several settings of the same tasks, in test."""
    same = [view for view in views if view.tasks == views[0].tasks and "loss" in view.spaces]
    sets = [(view, view.candidates(STATIC, "loss")) for view in same]
    sets = [(view, models) for view, models in sets if len(models)]
    if len(sets) < 2:
        raise UnavailableError("the studies hold static weights in one setting (model size) only")
    if len(views[0].tasks) != 2:
        raise UnavailableError(f"drawn for two tasks; this study has {len(views[0].tasks)}")
    drawn = figure(6.6, 4.8)
    axis = drawn.subplots()
    for number, (view, models) in enumerate(sets):
        points = models.test[models.selected]
        front = points[fronts.non_dominated(points)]
        front = front[np.argsort(front[:, 0])]
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        axis.step(*front.T, where="post", color=color, lw=1.2)
        style: dict[str, Any] = {"marker": marker, "color": color, "label": view.title}
        axis.plot(*points.T, ls="none", ms=7, mec="white", **style)
    first, second = views[0].spaces["loss"]
    axis.set_xlabel(f"{first.task}: {first.metric}, test (lower is better)")
    axis.set_ylabel(f"{second.task}: {second.metric}, test (lower is better)")
    axis.legend()
    axis.set_title("Static weights, models that validation selects")
    return drawn
