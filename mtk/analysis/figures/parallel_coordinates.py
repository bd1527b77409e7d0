"""Measured models of many tasks, a line for each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis.comparison import Comparison
from mtk.analysis.figures.measured_models import shown
from mtk.analysis.figures.style import figure, label, legend_of, line_of
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

# Of more tasks, names stand upright.
_MANY = 6


def draw(view: StudyView, questions: Sequence[Comparison]) -> Figure:
    """Draws each measured model over the tasks, from the worst value of all to the best one."""
    space = view.spaces.loss
    chosen = view.spaces[space]
    if len(chosen) < 3:
        raise UnavailableError(f"drawn for three tasks or more; this study has {len(chosen)}")
    models = shown(view, space, "test", questions)
    signs = np.array([objective.sign for objective in chosen])
    every = np.concatenate([own.values for own in models.values()]) * signs
    if not len(every):
        raise UnavailableError("no model was selected")
    worst, best = every.max(0), every.min(0)
    width = np.where(worst > best, worst - best, 1.0)
    drawn = figure(max(6.4, 1.5 + 0.35 * len(chosen)), 4.8)
    axis = drawn.subplots()
    for method, own in models.items():
        style = line_of(method, view.methods)
        style |= {"lw": 0.9, "alpha": 0.5, "ms": 4} if method == STATIC else {"lw": 1.8}
        heights = (worst - own.values * signs) / width
        for number, line in enumerate(heights):
            axis.plot(line, label=label(method) if number == 0 else None, **style)
    upright: dict[str, Any] = {"rotation": 90} if len(chosen) > _MANY else {}
    axis.set_xticks(range(len(chosen)), [objective.task for objective in chosen], **upright)
    axis.set_ylabel(f"{space}, test: from the worst to the best\n(higher is better)")
    axis.grid(axis="x", color="#BBBBBB")
    legend_of(drawn, axis)
    drawn.suptitle(view.title)
    return drawn
