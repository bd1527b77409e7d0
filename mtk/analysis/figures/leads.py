"""The verdict as a figure: how far each method lies beyond the static front."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures.style import figure, look
from mtk.analysis.unavailable import UnavailableError
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
    cut = False
    for row, (name, verdict) in enumerate(known.items()):
        low, high = verdict.over_seeds or (np.nan, np.nan)
        held = verdict.over_grids
        style = look(name, view.methods)
        axis.plot(_shown(low, high), [row, row], color=style["color"], lw=3, alpha=0.4)
        axis.plot(_shown(verdict.lead.amount), [row], ms=9, mec="white", **style)
        axis.plot(_shown(*held), [row + 0.28] * len(held), "|", color="black", ms=8, alpha=0.7)
        if np.nanmin([low, verdict.lead.amount, *held]) < _LEAST:
            axis.plot(100 * _LEAST - 5, row, "<", color="black", ms=6)
            cut = True
    axis.axvline(0, color="black", lw=1)
    axis.set_yticks(range(len(known)), list(known))
    axis.invert_yaxis()
    axis.set_xlabel(
        f"lead in the {what}, % of {next(iter(known.values())).unit} (right of 0: beyond)\n"
        "bar: interval over seeds; ticks: static weightings over the front of the others"
        + ("\nblack arrow: goes on to the left, or down to no lead at all" if cut else "")
    )
    drawn.suptitle(view.title)
    return drawn


def table(verdicts: Mapping[str, Verdict]) -> pd.DataFrame:
    """Returns the ticks of the figure: leads of static weightings that were held out."""
    rows = [(name, 100 * held) for name, v in verdicts.items() for held in v.over_grids]
    return pd.DataFrame(rows, columns=["method", "lead of a static weighting, %"])


def _shown(*leads: float) -> np.ndarray:
    """Returns leads in percent, those that are too far behind at the edge."""
    return 100 * np.maximum(leads, _LEAST)
