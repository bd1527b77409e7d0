"""All verdicts on a study at a glance."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mtk.analysis.comparison import Comparison
from mtk.analysis.figures.style import figure, label, legend_below
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView
from mtk.analysis.verdict import BETTER, EQUIVALENT, UNDECIDED, WORSE, Verdict

_COLORS = {BETTER: "#0072B2", EQUIVALENT: "#009E73", WORSE: "#D55E00", UNDECIDED: "#777777"}
_MARKERS = {BETTER: ">", EQUIVALENT: "o", WORSE: "<", UNDECIDED: "d"}
# Margins are clipped here, in widths of the front: larger distances tell nothing more.
_FARTHEST = 1.0
_PANEL, _LABEL = 2.9, 0.08  # Inches: a panel, and a letter of a method's name.
_LETTERS = 32  # Characters that fit into a panel's title.


def draw(view: StudyView, questions: Sequence[Comparison], columns: int | None = None) -> Figure:
    """Draws the margin of every method, with its interval, in every comparison.

    By default there are two panels per row, or three if there are more than four panels.
    """
    asked = [question for question in questions if question.verdicts]
    if not asked:
        raise UnavailableError("there are no verdicts")
    methods = [m for m in view.methods if any(m in question.verdicts for question in asked)]
    columns = min(len(asked), columns or (2 if len(asked) <= 4 else 3))
    rows = -(-len(asked) // columns)
    titles = [textwrap.fill(question.title, _LETTERS) for question in asked]
    title = 0.15 * max(text.count("\n") for text in titles)
    height = 0.8 + rows * (0.75 + title + 0.27 * len(methods)) + 0.5 / columns
    longest = max(len(label(name)) for name in methods)
    drawn = figure(max(1.0, _LABEL * longest) + _PANEL * columns, height)
    axes = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for number, (axis, question) in enumerate(zip(axes, asked, strict=False)):
        for row, method in enumerate(methods):
            if method in question.verdicts:
                _row(axis, row, question.verdicts[method])
        delta = next(iter(question.verdicts.values())).delta
        axis.axvspan(-100 * delta, 100 * delta, color=_COLORS[EQUIVALENT], alpha=0.12, lw=0)
        axis.axvline(0, color="black", lw=0.8)
        axis.set_yticks(range(len(methods)), [label(name) for name in methods])
        axis.set(title=titles[number], ylim=(len(methods) - 0.5, -0.5))
        if number + columns >= len(asked):
            axis.set_xlabel("worse  ←  margin, %  →  better")
    for axis in axes[len(asked) :]:
        axis.remove()
    handles: list[Artist] = [
        Line2D([], [], marker=_MARKERS[answer], color=color, label=answer)
        for answer, color in _COLORS.items()
    ]
    handles.append(Patch(color=_COLORS[EQUIVALENT], alpha=0.15, label="equivalence band"))
    handles.append(Line2D([], [], color="black", ls="", marker="|", ms=11, label="held-out static"))
    legend_below(drawn, handles)
    return drawn


def _row(axis: Axes, row: int, verdict: Verdict) -> None:
    color = _COLORS[verdict.answer]
    # Margins that are too far away are drawn at the edge.
    known = [verdict.low, verdict.high, verdict.margin, verdict.held_out]
    low, high, margin, held_out = 100 * np.clip(known, -_FARTHEST, _FARTHEST)
    if not np.isnan([low, high]).any():
        axis.plot([low, high], [row, row], lw=2.2, solid_capstyle="butt", color=color)
    face = "white" if verdict.extrapolated else color
    axis.plot([margin], [row], ms=7, marker=_MARKERS[verdict.answer], color=color, ls="", mfc=face)
    if np.isfinite(held_out):
        axis.plot([held_out], [row], "|", color="black", ms=11, mew=1.4)
