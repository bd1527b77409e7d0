"""Axis limits that are robust to a few bad runs."""

import numpy as np
from numpy.typing import ArrayLike

# The axis extends `_TIMES` the range of the best quarter beyond that quarter.
_QUARTER, _TIMES = 0.25, 4.0
MARGIN = 0.06


def near(values: ArrayLike, sign: int, shown: ArrayLike = ()) -> tuple[float, float]:
    """Returns the limits of an axis that contain all values except far worse ones.

    A run that diverges, or nearly does, can be worse by any amount, so only the worse end is cut:
    at four times the width of the best quarter beyond that quarter, or beyond the values that are
    shown in any case.

    Args:
        values: All values; NaN and infinities are ignored.
        sign: 1 if lower is better, -1 if higher is better.
        shown: Values that must be visible.
    """
    own, kept = (sign * each[np.isfinite(each)] for each in map(np.ravel, (values, shown)))
    if not len(own):
        own = kept if len(kept) else np.array([0.0, 1.0])
    best, quarter = own.min(), np.quantile(own, _QUARTER)
    worst = max([quarter, *kept]) + _TIMES * ((quarter - best) or np.inf)
    # The values to show may lie beyond all others.
    seen = sign * np.array([best, own[own <= worst].max(), *kept])
    low, high = seen.min(), seen.max()
    away = MARGIN * (high - low) or 0.05 * abs(low) or 1.0
    return float(low - away), float(high + away)


def outside(points: np.ndarray, limits: ArrayLike) -> str:
    """Returns a note for the title if any points, `(N,)` or `(N, K)`, lie beyond the limits.

    Points that are not finite are ignored.
    """
    limits = np.reshape(limits, (-1, 2))
    points = points.reshape(-1, len(limits))
    points = points[np.isfinite(points).all(1)]
    number = int(((points < limits[:, 0]) | (points > limits[:, 1])).any(1).sum())
    return f" ({number} of {len(points)} are outside)" if number else ""
