"""Axes of hyperparameters: their scale, and equal values drawn beside one another."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from scipy.stats import variation

from mtk.analysis.figures.style import plain_ticks

# Two values that are closer, as factors, are read more easily on a linear axis.
_WIDE = 8
# Points move by at most this share of the smallest gap between two values, as it is drawn.
_SHARE = 0.1
# Values up to this number have a tick each; their numbers are this share of the axis apart.
_MOST_TICKS, _APART = 12, 0.11


def numbers(found: pd.DataFrame, name: str) -> pd.Series:
    """Returns a hyperparameter's value in each row, NaN where it is a schedule or the like."""
    if name not in found:
        return pd.Series(np.nan, found.index)
    known = pd.to_numeric(found[name], errors="coerce").astype(float)
    return known.where(np.isfinite(known))


def set_scale(axes: Axes, which: str, known: np.ndarray) -> str:
    """Gives an axis, "x" or "y", the scale for a hyperparameter's values; returns its name.

    A logarithmic axis has its ticks at these values, if they are few: they are what was tried.
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
    """Returns the numbers beside ticks, and none where one would touch the one before."""
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

    Logarithmic if their logarithms are spaced more evenly than they are themselves, with a place
    for 0 if it is one of them.
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
    """Moves points `(N,)` a little along an axis, so that equal values do not hide one another.

    A moved point stays next to its own one of all values, and none is negative if no value is.
    """
    away = _SHARE * _gap(axis, known) * generator.uniform(-1, 1, len(values))
    transform = axis.get_transform()
    moved = transform.inverted().transform(transform.transform(values) + away)
    return np.abs(moved) if known.min() >= 0 else moved


def limits(axis: Axis, known: np.ndarray) -> tuple[float, float]:
    """Returns limits that show all values, and the points beside the outermost ones."""
    transform = axis.get_transform()
    ends = transform.transform(np.array([known.min(), known.max()]))
    margin = max(2 * _SHARE * _gap(axis, known), 0.06 * np.ptp(ends))
    low, high = transform.inverted().transform(ends + margin * np.array([-1, 1]))
    return float(low), float(high)


def _gap(axis: Axis, known: np.ndarray) -> float:
    """Returns the smallest distance of two values, as it is drawn."""
    gaps = np.diff(axis.get_transform().transform(np.unique(known)))
    return float(gaps.min()) if len(gaps) else 1.0
