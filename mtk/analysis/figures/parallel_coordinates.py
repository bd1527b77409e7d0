"""Measured models of many tasks, one line per model."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis.comparison import Comparison
from mtk.analysis.figures.measured_models import shown
from mtk.analysis.figures.style import label, legend_of, line_of, panel
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

# With more tasks than this, names are written vertically.
_MANY = 6


def draw(view: StudyView, questions: Sequence[Comparison]) -> Figure:
    """Draws each measured model over the tasks, from the worst value of all to the best one."""
    space = view.spaces.loss
    chosen = view.spaces[space]
    if len(chosen) < 3:
        raise UnavailableError(f"only for three or more tasks; this study has {len(chosen)}")
    models = shown(view, space, "test", questions)
    signs = np.array([objective.sign for objective in chosen])
    every = np.concatenate([own.values for own in models.values()]) * signs
    if not len(every):
        raise UnavailableError("no model was selected")
    worst, best = every.max(0), every.min(0)
    width = np.where(worst > best, worst - best, 1.0)
    drawn, axis = panel(max(6.4, 1.5 + 0.35 * len(chosen)), 4.8, view.title)
    for method, own in models.items():
        style = line_of(method, view.methods)
        style |= {"lw": 0.9, "alpha": 0.5, "ms": 4} if method == STATIC else {"lw": 1.8}
        for number, line in enumerate((worst - own.values * signs) / width):
            axis.plot(line, label=label(method) if number == 0 else None, **style)
    names = [objective.task for objective in chosen]
    axis.set_xticks(range(len(names)), names, rotation=90 if len(names) > _MANY else 0)
    axis.set_ylabel(f"{space}, test: from worst to best value\n(higher is better)")
    axis.grid(axis="x", color="#BBBBBB")
    legend_of(drawn, axis)
    return drawn
