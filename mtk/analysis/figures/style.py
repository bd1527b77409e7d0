"""How all figures look; `mtk.mplstyle` holds the settings."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from mtk.analysis.metric_sets import Objective

_SETTINGS = Path(__file__).with_name("mtk.mplstyle")
_CYCLE = mpl.rc_params_from_file(_SETTINGS, use_default_template=False)["axes.prop_cycle"]
COLORS = [f"#{color.lstrip('#')}" for color in _CYCLE.by_key()["color"]]
MARKERS = ["s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*"]
_LINES = ["-", "-.", ":", (0, (3, 1, 1, 1, 1, 1))]
STATIC_COLOR = "black"
DOMINATED_COLOR = "#9A9A9A"
_TICKS = 5


@contextmanager
def styled() -> Iterator[None]:
    """Draws in the style of the report, whatever the user's own settings are."""
    with mpl.rc_context(fname=_SETTINGS):
        yield


def figure(width: float, height: float, title: str = "") -> Figure:
    """Returns an empty figure of so many inches, which needs no display and no closing."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    if title:
        drawn.suptitle(title)
    return drawn


def panel(width: float, height: float, title: str = "") -> tuple[Figure, Axes]:
    """Returns a figure of one panel."""
    drawn = figure(width, height, title)
    return drawn, drawn.subplots()


def grid_of(
    number: int, columns: int, width: float, height: float, title: str
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with so many panels of a size in inches, in rows of so many columns."""
    columns = min(number, columns)
    rows = -(-number // columns)
    drawn = figure(width * columns + 0.4, height * rows + 0.9, title)
    axes = list(drawn.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[number:]:
        axis.remove()
    return drawn, axes[:number]


def style_of(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Returns colour and marker of a method: the same in all figures of a study."""
    if method not in methods:
        return {"color": STATIC_COLOR, "marker": "o"}
    number = list(methods).index(method)
    # Colours and markers have coprime periods: 88 pairs.
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def line_of(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Returns the style of a method's curve: methods of one colour differ in their lines too."""
    dashes: Any = "--"
    if method in methods:
        dashes = _LINES[list(methods).index(method) // len(COLORS) % len(_LINES)]
    return {**style_of(method, methods), "ls": dashes}


def legend_below(drawn: Figure, handles: Sequence[Any]) -> None:
    """Puts one legend for all panels under them."""
    if handles:
        columns = min(len(handles), max(2, int(drawn.get_figwidth() / 1.7)))
        labels = [str(handle.get_label()) for handle in handles]
        drawn.legend(handles, labels, loc="outside lower center", ncols=columns)


def legend_of(drawn: Figure, axis: Axes) -> None:
    """Puts the legend of one panel, which is that of all, under them."""
    legend_below(drawn, axis.get_legend_handles_labels()[0])


def label(name: str) -> str:
    """Returns a name for a legend, which leaves out what begins with an underscore."""
    return f" {name}" if name.startswith("_") else name


def axis_label(objective: Objective) -> str:
    """Returns what an axis shows, and which way it is better."""
    return f"{objective.task}: {objective.metric} ({objective.direction})"


def label_axes(axis: Axes, pair: Sequence[Objective]) -> None:
    """Names both axes after their tasks; few ticks, so that long numbers do not touch."""
    axis.set(xlabel=axis_label(pair[0]), ylabel=axis_label(pair[1]))
    if axis.get_xscale() == "linear":
        axis.locator_params(axis="x", nbins=_TICKS)


def plain_ticks(axis: Axis) -> None:
    """Writes the numbers of an axis, if it is logarithmic, without the mark-up of mathematics."""
    if axis.get_scale() in ("log", "symlog"):
        axis.set_major_formatter(_PlainLogFormatter())
        axis.set_minor_formatter(_PlainLogFormatter())


class _PlainLogFormatter(LogFormatter):
    """Labels what matplotlib would label, as a plain number."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""
