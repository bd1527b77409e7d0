"""Figure 7: effect of the model size on the front."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis import fronts, run_table
from mtk.analysis.figures.style import COLORS, MARKERS, label, label_axes, panel
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC, Candidates
from mtk.analysis.study_view import StudyView


def draw(views: Sequence[StudyView]) -> Figure:
    """Draws the static fronts, on test, of models of several sizes on the same tasks."""
    found = by_size(views)
    if len(found) < 2:
        raise UnavailableError("the studies have static weights of only one model size")
    losses = _alike(views)[0].spaces.losses
    if len(losses) != 2:
        raise UnavailableError(f"only for two tasks; these studies have {len(losses)}")
    drawn, axis = panel(6.6, 4.8)
    for number, (size, models) in enumerate(found.items()):
        points = models.front
        front = points[fronts.non_dominated(points)]
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        axis.step(*front[np.argsort(front[:, 0])].T, where="post", color=color, lw=1.2)
        axis.plot(
            *points.T, ls="none", ms=7, mec="white", color=color, marker=marker, label=label(size)
        )
    label_axes(axis, losses)
    axis.legend()
    axis.set_title("Static weights, test: models selected on validation")
    return drawn


def by_size(views: Sequence[StudyView]) -> dict[str, Candidates]:
    """Returns the static models of each model size, by the number of parameters as text.

    If several views have the same size, the first one is used; runs that did not record it have
    none. Views without static models, or with other losses than the first with some, are ignored.
    """
    found = dict[str, Candidates]()
    for view in _alike(views):
        own = view.candidates(STATIC, view.spaces.loss)
        (size,) = run_table.sizes(view.of(STATIC).iloc[own.rows[:1]])
        if size is not None:
            found.setdefault(size, own)
    return found


def _alike(views: Sequence[StudyView]) -> list[StudyView]:
    """Returns the views with static models that have the losses of the first of them."""
    known = [v for v in views if v.spaces.loss in v.spaces]
    known = [v for v in known if len(v.candidates(STATIC, v.spaces.loss))]
    return [v for v in known if v.spaces.losses == known[0].spaces.losses]
