"""Axes for hyperparameters: their scale, and jitter that separates equal values."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from scipy.stats import variation

from mtk.analysis.figures.style import plain_ticks

# Two values whose ratio is less than this are easier to read on a linear axis.
_WIDE = 8
# Points are jittered by at most this share of the smallest gap between two values, as drawn.
_SHARE = 0.1
# Up to `_MOST_TICKS` values have a tick each; labels are at least `_APART` of the axis apart.
_MOST_TICKS, _APART = 12, 0.11


def numbers(found: pd.DataFrame, name: str) -> pd.Series:
    """Returns a hyperparameter's value in each row, NaN if it is not a number (e.g. a schedule)."""
    if name not in found:
        return pd.Series(np.nan, found.index)
    known = pd.to_numeric(found[name], errors="coerce").astype(float)
    return known.where(np.isfinite(known))


def set_scale(axes: Axes, which: str, known: np.ndarray) -> str:
    """Sets the scale of an axis, "x" or "y", for a hyperparameter's values; returns its name.

    If there are few values, a logarithmic axis has its ticks at the values that were tried.
    """
    name, options = scale(known)
    {"x": axes.set_xscale, "y": axes.set_yscale}[which](name, **options)
    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    if name == "linear" or len(np.unique(known)) > _MOST_TICKS:
        plain_ticks(axis)
        return name
    axis.set_ticks(np.unique(known), labels=_labels(axis, np.unique(known)))
    axis.set_ticks([], minor=True)
    return name


def _labels(axis: Axis, values: np.ndarray) -> list[str]:
    """Returns the tick labels, empty where a label would touch the previous one."""
    places = axis.get_transform().transform(values)
    labels: list[str] = []
    last = -np.inf
    for value, place in zip(values, places, strict=True):
        is_free = place - last >= _APART * np.ptp(places)
        labels.append(f"{value:g}" if is_free else "")
        last = place if is_free else last
    return labels


def scale(known: np.ndarray) -> tuple[str, dict[str, Any]]:
    """Returns the name and the options of the scale for a hyperparameter's values.

    Logarithmic if the logarithms of the values are spaced more evenly than the values themselves,
    and then symmetric-logarithmic if the values include 0.
    """
    positive = np.unique(known[known > 0])
    if not len(positive) or known.min() < 0:
        return "linear", {}
    if len(positive) < 3:
        by_factors = known.max() > _WIDE * positive.min()
    else:
        by_factors = variation(np.diff(np.log(positive))) < variation(np.diff(positive))
    if not by_factors:
        return "linear", {}
    return ("log", {}) if known.min() > 0 else ("symlog", {"linthresh": positive.min()})


def apart(
    axis: Axis, values: np.ndarray, known: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Jitters points `(N,)` along an axis, so that equal values do not hide one another.

    A jittered point stays closest to its own value, and none is negative if no value is.
    """
    away = _SHARE * _gap(axis, known) * generator.uniform(-1, 1, len(values))
    transform = axis.get_transform()
    moved = transform.inverted().transform(transform.transform(values) + away)
    return np.abs(moved) if known.min() >= 0 else moved


def limits(axis: Axis, known: np.ndarray) -> tuple[float, float]:
    """Returns limits that include all values and the jittered points at the outermost ones."""
    transform = axis.get_transform()
    ends = transform.transform(np.array([known.min(), known.max()]))
    margin = max(2 * _SHARE * _gap(axis, known), 0.06 * np.ptp(ends))
    low, high = transform.inverted().transform(ends + margin * np.array([-1, 1]))
    return float(low), float(high)


def _gap(axis: Axis, known: np.ndarray) -> float:
    """Returns the smallest distance between two values, as drawn."""
    gaps = np.diff(axis.get_transform().transform(np.unique(known)))
    return float(gaps.min()) if len(gaps) else 1.0
