"""Figure 7: what a larger model does to the front."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis import fronts, run_table
from mtk.analysis.figures.style import COLORS, MARKERS, figure, label, label_axes
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC, Candidates
from mtk.analysis.study_view import StudyView


def draw(views: Sequence[StudyView]) -> Figure:
    """Draws the static fronts of models of several sizes on the same tasks, in test."""
    found = by_size(views)
    if len(found) < 2:
        raise UnavailableError("the studies hold static weights of one model size only")
    first = _alike(views)[0]
    losses = first.spaces[first.spaces.loss]
    if len(losses) != 2:
        raise UnavailableError(f"drawn for two tasks; these studies have {len(losses)}")
    drawn = figure(6.6, 4.8)
    axis = drawn.subplots()
    for number, (size, models) in enumerate(found.items()):
        points = models.test[models.selected]
        front = points[fronts.non_dominated(points)]
        front = front[np.argsort(front[:, 0])]
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        axis.step(*front.T, where="post", color=color, lw=1.2)
        style: dict[str, Any] = {"marker": marker, "color": color, "label": label(size)}
        axis.plot(*points.T, ls="none", ms=7, mec="white", **style)
    label_axes(axis, losses)
    axis.legend()
    axis.set_title("Static weights, test: models that validation selects")
    return drawn


def by_size(views: Sequence[StudyView]) -> dict[str, Candidates]:
    """Returns the static models of each size of model, by their number of parameters in words.

    Of views with models of one size, the first one counts; runs that did not record it have none.
    """
    found: dict[str, Candidates] = {}
    for view in _alike(views):
        own = view.candidates(STATIC, view.spaces.loss)
        size = run_table.sizes(view.of(STATIC).iloc[own.rows[:1]])[0]
        if size is not None:
            found.setdefault(size, own)
    return found


def _alike(views: Sequence[StudyView]) -> list[StudyView]:
    """Returns the views with static models whose losses are those of the first such view."""
    known = [v for v in views if v.spaces.loss in v.spaces]
    known = [v for v in known if len(v.candidates(STATIC, v.spaces.loss))]
    return [v for v in known if v.spaces[v.spaces.loss] == known[0].spaces[known[0].spaces.loss]]
