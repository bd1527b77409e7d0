"""How far models lie beyond a front, in units of its width."""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator, RBFInterpolator
from scipy.linalg import helmert
from scipy.optimize import isotonic_regression
from scipy.spatial import ConvexHull

from mtk.analysis.fronts import non_dominated

# Points of the curve between two weights.
_STEPS = 8
# How far the curve is continued beyond its ends, in widths.
_BEYOND = 10.0
_ROUNDING = 1e-9
# Of values in units of the largest one.
_DECIMALS = 14
# By what factor the width changes, in a task, where it hangs on one model.
_HINGE = 1.25
# Of more pieces between models, only those on the hull are tried.
_MOST_CHORDS = 200


class Front(NamedTuple):
    """What static weights reach: points, and the pieces between them.

    Attributes:
        points: `(N, K)`, measured models; less is better.
        pieces: `(M, K, K)`, simplices with K corners each.
        measured: `(M,)`, whether a piece lies between measured models or continues the front.
        smooth: `(M,)`, whether such a piece is one of the curve or surface over the weights.
    """

    points: np.ndarray
    pieces: np.ndarray
    measured: np.ndarray
    smooth: np.ndarray


class Margins(NamedTuple):
    """How far points lie beyond a front.

    Attributes:
        amount: `(N,)`, by how much a point must get worse in every task until it meets the front;
            negative if the front is better. Where the front is not met, that of the corner.
        inside: `(N,)`, whether that is between measured models. Elsewhere the front is continued,
            or not met at all: a model that was not measured may do as well.
        least: `(N,)`, the amount where the front is met; elsewhere by how much the point is better
            than the best measured values of all tasks together.
        corner: `(N,)`, the same distance to the measured models alone, never less than `amount`.
        smooth: `(N,)`, that to the smooth part of the front where it is met, elsewhere `amount`,
            which it is never less than. What is lowest of many pieces is low by luck, too.
    """

    amount: np.ndarray
    inside: np.ndarray
    least: np.ndarray
    corner: np.ndarray
    smooth: np.ndarray


def front_of(points: np.ndarray, weights: np.ndarray | None = None) -> Front:
    """Returns the front of static models.

    Two tasks and known weights: each task's value is a monotone function of the logit of the
    weight (isotonic means, PCHIP between them), continued in a straight line at both ends. Three
    tasks: a thin-plate spline over the logarithms of the weights' ratios, between the models.
    Chords join the models in any case, and what is lowest counts.

    Args:
        points: `(N, K)`; less is better.
        weights: `(N, K)`, all positive; None if unknown.
    """
    number, num_tasks = points.shape
    front = _chords(points)
    if weights is None or number <= num_tasks:
        return front
    # Orthonormal coordinates of the logarithms' differences: no task is told from the others.
    places = np.log(weights) @ helmert(num_tasks).T
    if num_tasks == 2 and len(np.unique(places)) > 1:
        return _joined(_curve(points, places[:, 0]), front)
    if num_tasks == 3 and np.linalg.matrix_rank(places - places.mean(0), tol=_ROUNDING) == 2:
        return _joined(_surface(points, places), front)
    return front


def _joined(first: Front, second: Front) -> Front:
    parts = zip(first[1:], second[1:], strict=True)
    return Front(first.points, *(np.concatenate(both) for both in parts))


def margins(points: np.ndarray, front: Front) -> Margins:
    """Returns how far points `(N, K)` lie beyond a front."""
    corner = (front.points[None] - points[:, None]).max(2).min(1)
    beyond_all = (front.points.min(0) - points).min(1)
    if not len(front.pieces):
        return Margins(corner, np.zeros(len(points), bool), beyond_all, corner, corner)
    distance = _met(points, front.pieces)
    best = distance.argmin(1)
    met = np.isfinite(distance.min(1))
    amount = np.minimum(distance.min(1), corner)
    least = np.where(met, amount, beyond_all)
    smooth = np.where(front.smooth, distance, np.inf).min(1)
    smooth = np.where(np.isfinite(smooth), np.maximum(smooth, amount), amount)
    return Margins(amount, met & front.measured[best], least, corner, smooth)


def _surface(points: np.ndarray, places: np.ndarray) -> Front:
    """Returns small triangles on a smooth surface over the plane of the weights."""
    from matplotlib.tri import Triangulation, UniformTriRefiner  # For three tasks alone.

    unique, means, _ = _means_at(points, places.round(9))
    fine = UniformTriRefiner(Triangulation(*unique.T)).refine_triangulation(subdiv=2)
    values = RBFInterpolator(unique, means, kernel="thin_plate_spline")(np.c_[fine.x, fine.y])
    every = np.ones(len(fine.triangles), bool)
    return Front(points, values[fine.triangles], every, every)


def _means_at(points: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the places, each once, with the mean of the points there, and how many they are."""
    unique, index = np.unique(places, axis=0, return_inverse=True)
    number = np.bincount(index.ravel())
    sums = np.stack([np.bincount(index.ravel(), values) for values in points.T], axis=1)
    return unique, sums / number[:, None], number


def _curve(points: np.ndarray, places: np.ndarray) -> Front:
    place, means, number = _means_at(points, places)
    # More weight on a task makes it no worse.
    monotone = np.stack(
        [
            isotonic_regression(means[:, task], weights=number, increasing=bool(task)).x
            for task in (0, 1)
        ],
        axis=1,
    )
    fine = np.interp(np.arange((len(place) - 1) * _STEPS + 1) / _STEPS, range(len(place)), place)
    line = PchipInterpolator(place, monotone)(fine)
    first, last = _continued(line[0], monotone), _continued(line[-1], monotone[::-1])
    line = np.concatenate([[first], line, [last]])
    measured = np.ones(len(line) - 1, bool)
    measured[[0, -1]] = False
    return Front(points, np.stack([line[:-1], line[1:]], axis=1), measured, measured)


def _continued(end: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Returns a point far beyond an end, on the line through it and the next one that differs.

    Where the front is convex that line is better than what static weights can reach.
    """
    steps = end - knots
    away = steps[np.abs(steps).max(1) > _ROUNDING]
    return end + _BEYOND * (away[0] / np.abs(away[0]).max() if len(away) else np.zeros_like(end))


def _chords(points: np.ndarray) -> Front:
    """Returns the pieces between models among which the lowest one is, wherever it is met."""
    num_tasks = points.shape[1]
    chosen = points[non_dominated(points)]
    if math.comb(len(chosen), num_tasks) <= _MOST_CHORDS:
        corners = list(itertools.combinations(range(len(chosen)), num_tasks))
    else:  # Joggled, since points may lie in a plane.
        corners = ConvexHull(chosen, qhull_options="QJ").simplices.tolist()
    pieces = chosen[np.array(corners, int).reshape(-1, num_tasks)]
    return Front(points, pieces, np.ones(len(pieces), bool), np.zeros(len(pieces), bool))


def _met(points: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Returns `(N, M)`: how far each point is from each piece along the diagonal, else infinity.

    The point p meets the simplex with corners v where p + t 1 = sum_j a_j v_j, a in the simplex.
    """
    number, num_tasks = len(pieces), points.shape[1]
    matrix = np.ones((number, num_tasks + 1, num_tasks + 1))
    matrix[:, :num_tasks, :num_tasks] = pieces.transpose(0, 2, 1)
    matrix[:, :num_tasks, num_tasks] = -1.0
    matrix[:, num_tasks, num_tasks] = 0.0
    usable = np.abs(np.linalg.det(matrix)) > 1e-12
    matrix[~usable] = np.eye(num_tasks + 1)
    right = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    found = np.einsum("mij,nj->nmi", np.linalg.inv(matrix), right)
    hit = usable & (found[..., :num_tasks] >= -_ROUNDING).all(2)
    return np.where(hit, found[..., num_tasks], np.inf)


class Hinge(NamedTuple):
    """A static model on whose being dominated, or not, the width of the front hangs.

    Attributes:
        model: Its position.
        amount: By how much it is better than each other model in some task, in widths; negative if
            it is dominated.
        width: `(K,)`, the width of the front if it were not there, or stood on the front after all.
    """

    model: int
    amount: float
    width: np.ndarray


def hinge(points: np.ndarray, close: float) -> Hinge | None:
    """Returns the model that changes the width most by a small change of itself, if one does.

    Args:
        points: `(N, K)`; less is better.
        close: What is a small change, in widths of the front.
    """
    width, front = widths(points), points[non_dominated(points)]
    found = []
    for number, point in enumerate(points if len(points) > 2 else []):
        rest = np.delete(points, number, axis=0)
        amount = float(((rest - point) / width).max(1).min())
        changed = widths(rest) if amount > 0 else np.ptp(np.vstack([front, point]), axis=0)
        change = float(np.maximum(changed / width, width / changed).max())
        if abs(amount) <= close and change >= _HINGE:
            found.append((change, Hinge(number, amount, changed)))
    return max(found, key=lambda each: each[0])[1] if found else None


def widths(points: np.ndarray) -> np.ndarray:
    """Returns `(K,)`: how far the non-dominated points spread in each task.

    With one such point, the spread of all; where there is none, 1: see `has_width`.
    """
    rounded = _rounded(points)
    front = non_dominated(rounded)
    spread = np.where(
        np.ptp(rounded[front], axis=0) > 0, np.ptp(points[front], axis=0), np.ptp(points, axis=0)
    )
    return np.where(has_width(points), spread, 1.0)


def has_width(points: np.ndarray) -> np.ndarray:
    """Returns `(K,)`: in which tasks the points differ, so that their spread is a unit."""
    return np.ptp(_rounded(points), axis=0) > 0


def _rounded(points: np.ndarray) -> np.ndarray:
    """Returns the points in units of each task's largest value.

    Means of the same values in another order differ by rounding, which is no width.
    """
    size = np.abs(points).max(0)
    return (points / np.where(size > 0, size, 1.0)).round(_DECIMALS)
