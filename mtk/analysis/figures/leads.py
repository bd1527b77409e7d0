"""The verdict as a figure: how far each method lies beyond the static front."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis.figures.style import UnavailableError, figure, look
from mtk.analysis.verdict import Verdict
from mtk.analysis.view import View

_LEAST = -1.0  # Further behind, the distance tells nothing more.


def draw(view: View, verdicts: Mapping[str, Verdict], what: str) -> Figure:
    """Draws leads with their intervals over seeds, and those of static weightings themselves.

    Args:
        view: The study.
        verdicts: By method.
        what: What was compared, in words.
    """
    known = {name: v for name, v in verdicts.items() if np.isfinite(v.lead.amount)}
    if not known:
        raise UnavailableError("no method has a selected model that can be compared with the front")
    drawn = figure(8.2, 1.8 + 0.42 * len(known))
    axis = drawn.subplots()
    for row, (name, verdict) in enumerate(known.items()):
        amount = max(verdict.lead.amount, _LEAST)
        if verdict.over_seeds is not None:
            low, high = (100 * max(value, _LEAST) for value in verdict.over_seeds)
            color = look(name, view.methods)["color"]
            axis.plot([low, high], [row, row], color=color, lw=3, alpha=0.4)
        axis.plot(100 * amount, row, ms=9, mec="white", **look(name, view.methods))
        held = np.clip(verdict.over_grids, _LEAST, None)
        axis.plot(100 * held, np.full(len(held), row + 0.28), "|", color="black", ms=8, alpha=0.7)
    axis.axvline(0, color="black", lw=1)
    axis.set_yticks(range(len(known)), list(known))
    axis.invert_yaxis()
    axis.set_xlabel(
        f"lead in the {what}, % of {next(iter(known.values())).unit} (right of 0: beyond)\n"
        "bar: interval over seeds; ticks: static weightings over the front of the others"
    )
    drawn.suptitle(view.title)
    return drawn
