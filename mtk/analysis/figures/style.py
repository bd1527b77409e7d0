"""The style of all figures; `mtk.mplstyle` holds the settings."""

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
    """Applies the style of the report, regardless of the user's own settings."""
    with mpl.rc_context(fname=_SETTINGS):
        yield


def figure(width: float, height: float, title: str = "") -> Figure:
    """Returns an empty figure with a size in inches; it needs no display and no closing."""
    drawn = Figure(figsize=(width, height), layout="constrained")
    if title:
        drawn.suptitle(title)
    return drawn


def panel(width: float, height: float, title: str = "") -> tuple[Figure, Axes]:
    """Returns a figure with one panel."""
    drawn = figure(width, height, title)
    return drawn, drawn.subplots()


def grid_of(
    number: int, columns: int, width: float, height: float, title: str
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with `number` panels in rows of `columns`; panel sizes are in inches."""
    columns = min(number, columns)
    rows = -(-number // columns)
    drawn = figure(width * columns + 0.4, height * rows + 0.9, title)
    axes = list(drawn.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[number:]:
        axis.remove()
    return drawn, axes[:number]


def style_of(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Returns the colour and marker of a method, the same in all figures of a study."""
    if method not in methods:
        return {"color": STATIC_COLOR, "marker": "o"}
    number = list(methods).index(method)
    # Colours and markers have coprime periods: 88 pairs.
    return {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}


def line_of(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Returns the style of a method's curve; methods of the same colour have different dashes."""
    dashes: Any = "--"
    if method in methods:
        dashes = _LINES[list(methods).index(method) // len(COLORS) % len(_LINES)]
    return {**style_of(method, methods), "ls": dashes}


def legend_below(drawn: Figure, handles: Sequence[Any]) -> None:
    """Puts one legend for all panels below them."""
    if handles:
        columns = min(len(handles), max(2, int(drawn.get_figwidth() / 1.7)))
        labels = [str(handle.get_label()) for handle in handles]
        drawn.legend(handles, labels, loc="outside lower center", ncols=columns)


def legend_of(drawn: Figure, axis: Axes) -> None:
    """Puts the legend of one panel, which applies to all, below them."""
    legend_below(drawn, axis.get_legend_handles_labels()[0])


def label(name: str) -> str:
    """Returns a name for a legend; matplotlib leaves out names that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def axis_label(objective: Objective) -> str:
    """Returns the label of an axis, with the direction of improvement."""
    return f"{objective.task}: {objective.metric} ({objective.direction})"


def label_axes(axis: Axes, pair: Sequence[Objective]) -> None:
    """Labels both axes with their tasks; few ticks, so that long numbers do not overlap."""
    axis.set(xlabel=axis_label(pair[0]), ylabel=axis_label(pair[1]))
    if axis.get_xscale() == "linear":
        axis.locator_params(axis="x", nbins=_TICKS)


def plain_ticks(axis: Axis) -> None:
    """Formats the tick labels of a logarithmic axis as plain numbers, without math markup."""
    if axis.get_scale() in ("log", "symlog"):
        axis.set_major_formatter(_PlainLogFormatter())
        axis.set_minor_formatter(_PlainLogFormatter())


class _PlainLogFormatter(LogFormatter):
    """Labels the same ticks as matplotlib would, with plain numbers."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""
