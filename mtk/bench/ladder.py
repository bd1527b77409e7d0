"""Limits the precision of a leaderboard to what the noise allows.

Submitting repeatedly and keeping the best score overfits the test set. So a better score is
published only if it is better by more than its noise, and rounded to the noise.

Reference:
    Blum & Hardt, *The Ladder: a reliable leaderboard for machine learning competitions* (2015),
    https://arxiv.org/abs/1502.04585, with the standard error of the difference to the last
    published score instead of a fixed step, as in their section 4.
"""

import math

_NICE = (1.0, 2.0, 5.0, 10.0)


def improves(gain: float, noise: float) -> bool:
    """Returns whether a score improves on the last published one.

    Args:
        gain: Difference of the scores.
        noise: Standard error of that difference.
    """
    return gain > noise


def step(noise: float) -> float:
    """Returns the rounding step for values with this noise: 1, 2 or 5 times a power of ten.

    Args:
        noise: Standard error; the step is not smaller.

    Example:
    >>> step(0.013)
    0.02
    """
    if not 0 < noise < math.inf:
        return 0.0
    power = 10.0 ** math.floor(math.log10(noise))
    factor = next(nice for nice in _NICE if nice * power >= noise * (1 - 1e-9))
    return float(f"{factor * power:.0e}")


def told(value: float, noise: float) -> float | None:
    """Returns a value as it may be published; None if it is unknown.

    Args:
        value: The value.
        noise: Its standard error.

    Example:
    >>> told(0.1234, 0.013)
    0.12
    """
    if not math.isfinite(value) or not math.isfinite(noise):
        return None
    each = step(noise)
    if not each:
        return float(f"{value:.3g}")
    digits = max(0, -math.floor(math.log10(each)))
    return round(round(value / each) * each, digits) + 0.0
