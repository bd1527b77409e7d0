"""How all figures look: made for reading, also by colour-blind readers and in print."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

# The palette of Okabe and Ito (2008), black kept for static weights.
COLORS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B4C9A", "#8C6D31"]
MARKERS = ["s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*"]
STATIC_COLOR = "black"

_SETTINGS: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.fontsize": 9.0,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "figure.dpi": 110.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "mtk",
    # Names are shown as they are, whatever dollars and backslashes they have.
    "text.parse_math": False,
    "text.usetex": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draws in the style of the report."""
    with mpl.rc_context({**_SETTINGS, "axes.prop_cycle": cycler(color=COLORS)}):
        yield


def figure(width: float, height: float) -> Figure:
    """Returns an empty figure of so many inches, which needs no display and no closing."""
    return Figure(figsize=(width, height), layout="constrained")


def look(method: str, methods: list[str]) -> dict[str, Any]:
    """Returns colour and marker of a method: the same in all figures of a study."""
    if method not in methods:
        return {"color": STATIC_COLOR, "marker": "o"}
    number = methods.index(method)
    # Colours and markers have coprime periods: 88 pairs.
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def legend_below(drawn: Figure, handles: list[Any], labels: list[str]) -> None:
    """Puts one legend for all panels under them."""
    columns = min(len(labels), max(2, int(drawn.get_figwidth() / 1.7)))
    if labels:
        drawn.legend(handles, labels, loc="outside lower center", ncols=columns)


def label(name: str) -> str:
    """Returns a name for a legend, which leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def plain_ticks(axis: Axis) -> None:
    """Writes the numbers of an axis, if it is logarithmic, without the mark-up of mathematics."""
    if axis.get_scale() in ("log", "symlog"):
        axis.set_major_formatter(_PlainLogFormatter())
        axis.set_minor_formatter(_PlainLogFormatter())


class _PlainLogFormatter(LogFormatter):
    """Labels what matplotlib would label, as a plain number."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""
