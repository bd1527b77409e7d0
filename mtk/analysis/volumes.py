"""The volume that a set of points dominates."""

import numpy as np

from mtk.analysis.fronts import checked, non_dominated


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns the volume between the points and a reference point, exactly.

    In two dimensions one sort. Above, the points are stacked by their last value: each adds a slab
    of what it dominates alone in the dimensions before, which is a smaller problem of the same
    kind. The time grows exponentially with K: made for K up to 6 or so.

    Args:
        points: `(N, K)`; less is better. Points beyond the reference add nothing.
        reference: `(K,)`, the worst point that counts.

    Raises:
        ValueError: If the points are none, or the reference is no finite point like them.

    Reference:
        While, Bradstreet & Barone, *A fast way of calculating exact hypervolumes* (2012),
        algorithm WFG, here always with slicing by the last objective.

    Example:
    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
    3.0
    """
    points = checked(points)
    reference = np.asarray(reference, float)
    if reference.shape != points.shape[1:] or not np.isfinite(reference).all():
        raise ValueError(
            f"The reference point has a finite value for each of {points.shape[1]} objectives. "
            f"Received: {reference}"
        )
    inside = points[(points < reference).all(1)]
    return float(_volume(_front(inside), reference))


def _front(points: np.ndarray) -> np.ndarray:
    return np.unique(points[non_dominated(points)], axis=0)


def _volume(front: np.ndarray, reference: np.ndarray) -> float:
    """Returns the volume of a front without duplicates."""
    if len(front) == 0:
        return 0.0
    if front.shape[1] == 1:
        return float(reference[0] - front.min())
    if front.shape[1] == 2:
        return _area(front, reference)
    worst_first = front[np.argsort(-front[:, -1], kind="stable")]
    heights = reference[-1] - worst_first[:, -1]
    base, limit = worst_first[:, :-1], reference[:-1]
    total = 0.0
    for index, point in enumerate(base):
        # What later slabs, which are higher, cover anyway.
        covered = _front(np.maximum(base[index + 1 :], point))
        alone = np.prod(limit - point) - _volume(covered, limit)
        total += heights[index] * alone
    return float(total)


def _area(front: np.ndarray, reference: np.ndarray) -> float:
    ordered = front[np.argsort(front[:, 0])]
    widths = np.append(ordered[1:, 0], reference[0]) - ordered[:, 0]
    return float(widths @ (reference[1] - ordered[:, 1]))
