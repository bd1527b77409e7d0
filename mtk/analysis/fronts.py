"""Non-dominated points, and weights spread evenly over the simplex."""

import moocore
import numpy as np
from scipy.stats import qmc


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Returns which points are on the front.

    A point dominates another if it is at least as good in every objective and better in one. Equal
    points do not dominate each other: either all of them are on the front or none.

    Args:
        points: `(N, K)`; lower is better. Infinite values are allowed.

    Returns:
        Booleans `(N,)`.

    Raises:
        ValueError: If the points are not a matrix, have no objective, or a value is NaN.

    Example:
    >>> non_dominated(np.array([[1, 4], [2, 2], [3, 3], [2, 2]])).tolist()
    [True, True, False, True]
    """
    points = checked(points)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), bool)


def checked(points: np.ndarray) -> np.ndarray:
    """Returns the points as floats, or raises a ValueError if they are invalid."""
    points = np.asarray(points, float)
    if points.ndim != 2 or not points.shape[1]:
        raise ValueError(
            "`points` must be a matrix (N, K) with K >= 1 objectives. Received an array of "
            f"shape {points.shape}"
        )
    if np.isnan(points).any():
        row = int(np.isnan(points).any(1).argmax())
        raise ValueError(
            f"A point with NaN cannot be compared: row {row} is {points[row]}. Remove runs with "
            "missing values first."
        )
    return points


def simplex(num_tasks: int) -> np.ndarray:
    """Returns weights `(2048, K)` spread evenly over the simplex, deterministically."""
    if num_tasks == 1:
        return np.ones((2048, 1))
    # The gaps between sorted uniform numbers are uniformly distributed on the simplex.
    cuts = np.sort(qmc.Sobol(num_tasks - 1, rng=0).random_base2(11), axis=1)
    return np.diff(np.pad(cuts, ((0, 0), (1, 1)), constant_values=(0, 1)), axis=1)
