"""Limits of axes that a few bad runs do not set."""

import numpy as np

# Values worse than a quarter of all are shown as far again as that quarter spreads.
_QUARTER, _TIMES = 0.25, 4.0
MARGIN = 0.06


def near(values: np.ndarray, sign: int, shown: np.ndarray | None = None) -> tuple[float, float]:
    """Returns the limits of an axis around all values but those that are far worse than most good.

    A run that diverges, or nearly so, is worse by any amount, so that only the worse end is cut:
    four times as far from the best quarter as that quarter is wide, or from the values that are
    shown in any case.

    Args:
        values: All of them; NaN and infinities are left out.
        sign: 1 where lower is better, -1 where higher is.
        shown: Those that must be seen.
    """
    own, kept = (
        sign * each[np.isfinite(each)]
        for each in (np.ravel(values), np.ravel([] if shown is None else shown))
    )
    if not len(own):
        own = kept if len(kept) else np.array([0.0, 1.0])
    best, quarter = own.min(), np.quantile(own, _QUARTER)
    worst = max([quarter, *kept]) + _TIMES * ((quarter - best) or np.inf)
    # What is shown may lie beyond all others.
    seen = sign * np.array([best, own[own <= worst].max(), *kept])
    low, high = seen.min(), seen.max()
    away = MARGIN * (high - low) or 0.05 * abs(low) or 1.0
    return float(low - away), float(high + away)


def outside(points: np.ndarray, limits: np.ndarray) -> str:
    """Returns what a title says of points `(N,)` or `(N, K)` beyond its limits, if there are any.

    Points that are not finite do not count.
    """
    limits = np.reshape(limits, (-1, 2))
    points = points.reshape(-1, len(limits))
    points = points[np.isfinite(points).all(1)]
    number = int(((points < limits[:, 0]) | (points > limits[:, 1])).any(1).sum())
    return f" ({number} of {len(points)} are outside)" if number else ""
