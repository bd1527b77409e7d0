"""Trade-offs between two tasks: the form of the paper's Figures 2, 4, 5, 8 and 12 to 16."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mtk.analysis import metric_sets
from mtk.analysis.comparison import Comparison
from mtk.analysis.figures.limits import near, outside
from mtk.analysis.figures.measured_models import Shown, shown
from mtk.analysis.figures.style import (
    DOMINATED_COLOR,
    STATIC_COLOR,
    grid_of,
    label,
    label_axes,
    legend_below,
    plain_ticks,
    style_of,
)
from mtk.analysis.fronts import non_dominated
from mtk.analysis.margins import front_of
from mtk.analysis.metric_sets import Objective, UnavailableError
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

# With more tasks than this, there are too many pairs to read.
_MOST_TASKS = 4
# Free space on each side of a panel, as a share of the enclosed range.
_MARGIN = 0.12
# Methods are crowded if `_CROWD` of them take less than `_CROWDED` of both axes.
_CROWD, _CROWDED = 0.7, 0.35
# Labels of weights closer than this share of an axis would overlap.
_CLOSE = 0.045
# Ratio of the worst model to the best from which an axis is logarithmic, to show the others too.
_DECADES = 30.0
_PIECES = 20  # pieces of a line that is straight on linear axes

_SAYS = {
    "test": "test, at the step selected on validation",
    "validation": "validation, at its best step",
    "train": "training set, at the last step",
}


@dataclass(frozen=True)
class _Panel:
    """Each method's models in two of `num_tasks` tasks.

    `limits` `(2, 2)` are the low and high ends of both axes; another panel enlarges `box`. Both are
    in axis coordinates: logarithms of the values for the axes marked in `logarithmic` `(2,)`.
    """

    title: str
    pair: tuple[Objective, Objective]
    models: dict[str, Shown]
    num_tasks: int
    logarithmic: np.ndarray
    limits: np.ndarray
    box: np.ndarray | None = None

    @property
    def size(self) -> np.ndarray:
        return np.diff(self.limits, axis=1)[:, 0]

    def places(self, points: np.ndarray) -> np.ndarray:
        """Returns the axis coordinates of points `(N, 2)`; NaN if an axis cannot show a value."""
        return _places(points, self.logarithmic)

    def values_at(self, places: np.ndarray) -> np.ndarray:
        """Returns the values `(2, N)` at axis coordinates."""
        logarithmic = self.logarithmic[:, None]
        return np.where(logarithmic, 10.0 ** np.where(logarithmic, places, 0.0), places)


def draw(
    view: StudyView, panels: Sequence[tuple[str, str]], questions: Sequence[Comparison] = ()
) -> Figure:
    """Draws the fronts of all methods, zoomed to the models that were measured.

    `panels` has the names of a set of objectives and of a split for each panel; the verdicts on the
    study, `questions`, hold the measured models.
    """
    found = _panels(view, panels, questions)
    return _drawn(view, [each for panel in found for each in _enlarged(panel)])


def draw_everything(
    view: StudyView, panels: Sequence[tuple[str, str]], questions: Sequence[Comparison] = ()
) -> Figure:
    """As `draw`, with all models except those that are far worse, whose number is shown.

    Raises:
        UnavailableError: If no model lies outside the limits of `draw`.
    """
    found = _panels(view, panels, questions)
    if not any(outside(panel.places(_everything(panel.models)), panel.limits) for panel in found):
        raise UnavailableError("the figure of the fronts of the losses already shows all models")
    wide = []
    for panel in found:
        models = panel.models.values()
        every, ends = _everything(panel.models), np.concatenate([own.ends for own in models])
        ranges = zip(panel.places(every).T, panel.pair, panel.places(ends).T, strict=True)
        limits = np.array([near(values, o.sign, kept) for values, o, kept in ranges])
        points = np.concatenate([part for own in models for part in (own.values, own.others)])
        points = panel.places(points)
        wide.append(replace(panel, title=panel.title + outside(points, limits), limits=limits))
    return _drawn(view, wide)


def _drawn(view: StudyView, panels: Sequence[_Panel]) -> Figure:
    columns = 2 if len(panels) in (2, 4) else 3
    drawn, axes = grid_of(len(panels), columns, 4.6, 4.0, view.title)
    for axis, panel in zip(axes, panels, strict=True):
        _panel(axis, view, panel)
    line = "--" if any(panel.num_tasks == 2 for panel in panels) else ""
    handles = [Line2D([], [], ls=line, color=STATIC_COLOR, marker="o", mec="white", label=STATIC)]
    for method in view.methods:
        if any(len(panel.models[method].values) for panel in panels):
            style = style_of(method, view.methods) | {"ls": "", "ms": 8, "mec": "white"}
            handles.append(Line2D([], [], label=label(method), **style))
    others = "not measured or dominated"
    handles.append(Line2D([], [], ls="", marker="o", ms=3, color=DOMINATED_COLOR, label=others))
    legend_below(drawn, handles)
    return drawn


def _panels(
    view: StudyView, panels: Sequence[tuple[str, str]], questions: Sequence[Comparison]
) -> list[_Panel]:
    for space, split in panels:
        number = len(view.spaces[space])
        if not 2 <= number <= _MOST_TASKS:
            raise UnavailableError(f"only for two to {_MOST_TASKS} tasks; this study has {number}")
        if not np.isfinite(metric_sets.points(view.found, view.spaces[space], split)).any():
            raise UnavailableError(f"no run has values of {space!r} for {split}")
    found = []
    for space, split in panels:
        every, chosen = shown(view, space, split, questions), view.spaces[space]
        for tasks in itertools.combinations(range(len(chosen)), 2):
            models = {name: own.of(list(tasks)) for name, own in every.items()}
            ends = np.concatenate([own.ends for own in models.values()])
            logarithmic = _spans_decades(np.concatenate([own.values for own in models.values()]))
            points = ends if len(ends) else _everything(models)
            limits = _limits(_places(points, logarithmic))
            pair = chosen[tasks[0]], chosen[tasks[1]]
            found.append(_Panel(_SAYS[split], pair, models, len(chosen), logarithmic, limits))
    return found


def _enlarged(panel: _Panel) -> Iterator[_Panel]:
    """Yields a panel and, if methods are crowded in it, an enlargement of that region."""
    own = [models.ends for name, models in panel.models.items() if name != STATIC]
    points = panel.places(np.concatenate([np.empty((0, 2)), *own]))
    points = points[np.isfinite(points).all(axis=1)]
    box = panel.limits
    if len(points) > 2 and panel.num_tasks == 2:
        away = (np.abs(points - np.median(points, axis=0)) / panel.size).max(1)
        crowd = points[away <= np.quantile(away, _CROWD)]
        box = _limits(crowd, 0.5, at_least=0.06 * panel.size)
    if (np.diff(box, axis=1)[:, 0] > _CROWDED * panel.size).any():
        yield panel
        return
    yield replace(panel, box=box)
    yield replace(
        panel, title=f"the marked box, enlarged ({panel.title.split(',')[0]})", limits=box
    )


def _everything(models: dict[str, Shown]) -> np.ndarray:
    return np.concatenate([part for own in models.values() for part in (own.ends, own.others)])


def _spans_decades(values: np.ndarray) -> np.ndarray:
    """Returns for each column of values `(N, 2)` whether its axis is logarithmic."""
    if not len(values):
        return np.zeros(2, bool)
    low, high = values.min(0), values.max(0)
    return (low > 0) & (high > _DECADES * low)


def _places(points: np.ndarray, logarithmic: np.ndarray) -> np.ndarray:
    logarithms = np.log10(points, out=np.full(points.shape, np.nan), where=points > 0)
    return np.where(logarithmic, logarithms, points)


def _limits(
    points: np.ndarray, margin: float = _MARGIN, at_least: np.ndarray | float = 0.0
) -> np.ndarray:
    """Returns `(2, 2)`, the limits of both axes around the finite ones of points `(N, 2)`."""
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return np.array([[0.0, 1.0], [0.0, 1.0]])
    low, high = points.min(0), points.max(0)
    away = np.maximum(margin * (high - low), at_least)
    away = np.where(away > 0, away, 0.05 * np.abs(high) + 1e-6)
    return np.stack([low - away, high + away], axis=1)


def _panel(axis: Axes, view: StudyView, panel: _Panel) -> None:
    xscale, yscale = ("log" if each else "linear" for each in panel.logarithmic)
    axis.set(xscale=xscale, yscale=yscale, title=panel.title)
    xlim, ylim = panel.values_at(panel.limits)
    axis.set(xlim=xlim, ylim=ylim)
    plain_ticks(axis.xaxis)
    plain_ticks(axis.yaxis)
    label_axes(axis, panel.pair)
    for number, (method, own) in enumerate(panel.models.items()):
        style = style_of(method, view.methods)
        grey = {"color": DOMINATED_COLOR, "marker": style["marker"]}
        axis.plot(*own.others.T, ls="none", ms=3, mew=0, alpha=0.6, **grey)
        (x, y), (x_error, y_error) = own.values.T, own.errors.T
        axis.errorbar(
            x, y, xerr=x_error, yerr=y_error, ls="none", ms=6 if method == STATIC else 8,
            mec="white", mew=0.7, elinewidth=1.1, zorder=3 + number, **style
        )  # fmt: skip
    if panel.num_tasks == 2:
        axis.plot(*_static_front(panel), ls="--", color=STATIC_COLOR, lw=1.2, zorder=2)
        _label_weights(axis, panel)
    if panel.box is not None:
        corner, end = panel.values_at(panel.box).T
        axis.add_patch(
            Rectangle(tuple(corner), *(end - corner), fill=False, ec="#555555", lw=0.9, zorder=9)
        )


def _static_front(panel: _Panel) -> np.ndarray:
    """Returns the curve `(2, N)` that the verdict uses, or, without one, lines between models."""
    own = panel.models[STATIC]
    signs = np.array([objective.sign for objective in panel.pair])
    points, weights = own.values * signs, own.first_weights
    if ((weights > 0) & (weights < 1)).all() and not np.isnan(own.errors).all():
        front = front_of(points, np.stack([weights, 1 - weights], axis=1))
        ends = np.flatnonzero(~front.measured)
        if len(ends) == 2:
            pieces = front.pieces[ends[0] + 1 : ends[1]]
            return _in_pieces((np.concatenate([pieces[:, 0], pieces[-1:, 1]]) * signs).T)
    front_points = points[non_dominated(points)] if len(points) else points
    return _in_pieces((front_points[np.argsort(front_points[:, 0])] * signs).T)


def _in_pieces(corners: np.ndarray) -> np.ndarray:
    """Returns points along a line through corners `(2, N)`, for axes on which it is curved."""
    number = corners.shape[1]
    if number < 2:
        return corners
    along = np.linspace(0, number - 1, _PIECES * (number - 1) + 1)
    return np.stack([np.interp(along, range(number), row) for row in corners])


def _label_weights(axis: Axes, panel: _Panel) -> None:
    """Writes each static model's weight beside it, on the better side, if there is room."""
    own, labelled = panel.models[STATIC], np.empty((0, 2))
    left, below = (objective.sign > 0 for objective in panel.pair)
    places = panel.places(own.values)
    for place, value, weight in zip(places, own.values, own.first_weights, strict=True):
        near = (np.abs(labelled - place) / panel.size).max(1) < _CLOSE
        inside = ((place > panel.limits[:, 0]) & (place < panel.limits[:, 1])).all()
        if np.isnan(weight) or near.any() or not inside:
            continue
        labelled = np.concatenate([labelled, place[None]])
        axis.annotate(
            f"{weight:.2g}", tuple(value), (-5.0 if left else 5.0, -5.0 if below else 5.0),
            textcoords="offset points", ha="right" if left else "left",
            va="top" if below else "bottom", fontsize=8, color="#333333", zorder=8,
        )  # fmt: skip
