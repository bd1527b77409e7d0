"""All verdicts on a study at a glance."""

from collections.abc import Sequence
from typing import Any

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
# Further away, the distance tells nothing more; in widths of the front.
_FARTHEST = 1.0


def draw(view: StudyView, questions: Sequence[Comparison], columns: int | None = None) -> Figure:
    """Draws the margin of every method, with its interval, in every comparison.

    Args:
        view: The study.
        questions: Its verdicts.
        columns: Panels beside one another; two, or three of more than four, by default.
    """
    asked = [question for question in questions if question.verdicts]
    if not asked:
        raise UnavailableError("there is no verdict")
    methods = [m for m in view.methods if any(m in question.verdicts for question in asked)]
    columns = min(len(asked), columns or (2 if len(asked) <= 4 else 3))
    rows = -(-len(asked) // columns)
    height = 0.8 + rows * (0.75 + 0.27 * len(methods)) + 0.5 / columns
    drawn = figure(1.0 + 2.9 * columns, height)
    axes = drawn.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for number, (axis, question) in enumerate(zip(axes, asked, strict=False)):
        _panel(axis, question, methods)
        if number + columns >= len(asked):
            axis.set_xlabel("worse  ←  margin, %  →  better")
    for axis in axes[len(asked) :]:
        axis.remove()
    handles = _handles()
    legend_below(drawn, handles, [str(handle.get_label()) for handle in handles])
    return drawn


def _panel(axis: Axes, question: Comparison, methods: Sequence[str]) -> None:
    for row, method in enumerate(methods):
        if method in question.verdicts:
            _row(axis, row, question.verdicts[method])
    delta = next(iter(question.verdicts.values())).delta
    axis.axvspan(-100 * delta, 100 * delta, color=_COLORS[EQUIVALENT], alpha=0.12, lw=0)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_yticks(range(len(methods)), [label(name) for name in methods])
    axis.set_ylim(len(methods) - 0.5, -0.5)
    axis.set_title(question.title)


def _row(axis: Axes, row: int, verdict: Verdict) -> None:
    color = _COLORS[verdict.answer]
    ends = np.array([verdict.low, verdict.high])
    if not np.isnan(ends).any():
        axis.plot(_shown(ends), [row, row], lw=2.2, solid_capstyle="butt", color=color)
    style: dict[str, Any] = {"marker": _MARKERS[verdict.answer], "color": color, "ls": ""}
    if verdict.extrapolated:
        style["mfc"] = "white"
    axis.plot(_shown(verdict.margin), [row], ms=7, **style)
    if np.isfinite(verdict.held_out):
        axis.plot(_shown(verdict.held_out), [row], "|", color="black", ms=11, mew=1.4)


def _handles() -> list[Artist]:
    return [
        *(
            Line2D([], [], marker=_MARKERS[answer], color=_COLORS[answer], label=answer)
            for answer in _COLORS
        ),
        Patch(color=_COLORS[EQUIVALENT], alpha=0.15, label="band of equivalence"),
        Line2D([], [], color="black", ls="", marker="|", ms=11, label="held-out static"),
    ]


def _shown(amounts: float | np.ndarray) -> np.ndarray:
    """Returns margins in percent, those that are too far away at the edge."""
    return 100 * np.clip(np.atleast_1d(amounts), -_FARTHEST, _FARTHEST)
