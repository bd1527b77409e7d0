"""Margins: distances of models beyond a front, in units of its width."""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator, RBFInterpolator
from scipy.linalg import helmert
from scipy.optimize import isotonic_regression
from scipy.spatial import ConvexHull

from mtk.analysis.fronts import non_dominated

# Number of pieces of the curve between two weights.
_STEPS = 8
# Length of the extrapolation of the curve beyond its ends, in widths.
_BEYOND = 10.0
_ROUNDING = 1e-9
# Decimals to which values are rounded, in units of the largest one.
_DECIMALS = 14
# Factor by which the width in a task must change for it to depend on one model.
_HINGE = 1.25
# With more pieces between models than this, only those on the convex hull are tried.
_MOST_CHORDS = 200


class Front(NamedTuple):
    """The front of static weights: points, and the pieces between them.

    Attributes:
        points: `(N, K)`, measured models; lower is better.
        pieces: `(M, K, K)`, simplices with K corners each.
        measured: `(M,)`, whether a piece lies between measured models; else it extrapolates.
        smooth: `(M,)`, whether such a piece belongs to the curve or surface over the weights.
    """

    points: np.ndarray
    pieces: np.ndarray
    measured: np.ndarray
    smooth: np.ndarray


class Margins(NamedTuple):
    """Distances of points beyond a front.

    Attributes:
        amount: `(N,)`, by how much a point must get worse in every task to meet the front; negative
            if the front is better. If the point does not meet the front, `corner`.
        inside: `(N,)`, whether it meets the front between measured models. Otherwise the front is
            extrapolated or not met at all, and a model that was not measured may do as well.
        least: `(N,)`, `amount` if the front is met; otherwise by how much the point is better than
            the best measured values of all tasks together.
        corner: `(N,)`, the same distance to the measured models alone, never less than `amount`.
        smooth: `(N,)`, the distance to the smooth part of the front, at least `amount`, or `amount`
            if that part is not met. The lowest of many pieces is partly low by chance.
    """

    amount: np.ndarray
    inside: np.ndarray
    least: np.ndarray
    corner: np.ndarray
    smooth: np.ndarray


def front_of(points: np.ndarray, weights: np.ndarray | None = None) -> Front:
    """Returns the front of static models.

    For two tasks with known weights, each task's value is a monotone function of the logit of the
    weight (isotonic means, interpolated by PCHIP), with linear extrapolation at both ends. For
    three tasks, it is a thin-plate spline over the log-ratios of the weights, between the models.
    In all cases, chords join the models, and the lowest piece counts.

    Args:
        points: `(N, K)`; lower is better.
        weights: `(N, K)`, all positive; None if unknown.
    """
    number, num_tasks = points.shape
    front = _chords(points)
    if weights is None or number <= num_tasks:
        return front
    # Orthonormal coordinates of the differences of the logarithms, symmetric in the tasks.
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
    """Returns the margins of points `(N, K)` over a front."""
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
    """Returns a triangulated smooth surface over the plane of the weights."""
    from matplotlib.tri import Triangulation, UniformTriRefiner  # Only needed for three tasks.

    unique, means, _ = _means_at(points, places.round(9))
    fine = UniformTriRefiner(Triangulation(*unique.T)).refine_triangulation(subdiv=2)
    values = RBFInterpolator(unique, means, kernel="thin_plate_spline")(np.c_[fine.x, fine.y])
    every = np.ones(len(fine.triangles), bool)
    return Front(points, values[fine.triangles], every, every)


def _means_at(points: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the unique places, with the mean and the number of the points at each."""
    unique, index = np.unique(places, axis=0, return_inverse=True)
    number = np.bincount(index.ravel())
    sums = np.stack([np.bincount(index.ravel(), values) for values in points.T], axis=1)
    return unique, sums / number[:, None], number


def _curve(points: np.ndarray, places: np.ndarray) -> Front:
    place, means, number = _means_at(points, places)
    # A task does not get worse with more weight.
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
    """Returns a point far beyond an end, on the line through it and the next different knot.

    If the front is convex, that line is better than anything static weights can reach.
    """
    steps = end - knots
    away = steps[np.abs(steps).max(1) > _ROUNDING]
    return end + _BEYOND * (away[0] / np.abs(away[0]).max() if len(away) else np.zeros_like(end))


def _chords(points: np.ndarray) -> Front:
    """Returns pieces between models that include the lowest one wherever the front is met."""
    num_tasks = points.shape[1]
    chosen = points[non_dominated(points)]
    if math.comb(len(chosen), num_tasks) <= _MOST_CHORDS:
        corners = list(itertools.combinations(range(len(chosen)), num_tasks))
    else:  # Joggled, since the points may be coplanar.
        corners = ConvexHull(chosen, qhull_options="QJ").simplices.tolist()
    pieces = chosen[np.array(corners, int).reshape(-1, num_tasks)]
    return Front(points, pieces, np.ones(len(pieces), bool), np.zeros(len(pieces), bool))


def _met(points: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Returns `(N, M)`, distances of points to pieces along the diagonal, infinite if not met.

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
    """A static model that determines the width of the front by being dominated or not.

    Attributes:
        model: Position of the model.
        amount: By how much it is better than each other model in some task, in widths; negative if
            it is dominated.
        width: `(K,)`, the width of the front without it, or, if it is dominated, with it.
    """

    model: int
    amount: float
    width: np.ndarray


def hinge(points: np.ndarray, close: float) -> Hinge | None:
    """Returns the model that would change the width most by moving `close` widths, if any does."""
    width, front = widths(points), _front(points)
    found = []
    # Without a width in a task there are no margins.
    usable = len(points) > 2 and has_width(points).all()
    for number, point in enumerate(points if usable else []):
        rest = np.delete(points, number, axis=0)
        amount = float(((rest - point) / width).max(1).min())
        with_it = front | (np.arange(len(points)) == number)
        changed = widths(rest) if amount > 0 else _widths(points, with_it)
        change = float(np.maximum(changed / width, width / changed).max())
        if abs(amount) <= close and change >= _HINGE:
            found.append((change, Hinge(number, amount, changed)))
    return max(found, key=lambda each: each[0])[1] if found else None


def widths(points: np.ndarray) -> np.ndarray:
    """Returns `(K,)`, the range of the non-dominated points in each task.

    If there is only one such point, the range of all points; 1 if that is zero: see `has_width`.
    """
    return _widths(points, _front(points))


def _front(points: np.ndarray) -> np.ndarray:
    return non_dominated(_rounded(points))


def _widths(points: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Returns `widths` if the points marked in `front` were the non-dominated ones."""
    has_range = np.ptp(_rounded(points)[front], axis=0) > 0
    spread = np.where(has_range, np.ptp(points[front], axis=0), np.ptp(points, axis=0))
    return np.where(has_width(points), spread, 1.0)


def has_width(points: np.ndarray) -> np.ndarray:
    """Returns `(K,)`, whether the points differ in a task, so that their range can be a unit."""
    return np.ptp(_rounded(points), axis=0) > 0


def _rounded(points: np.ndarray) -> np.ndarray:
    """Returns the points in units of each task's largest value, rounded.

    Means of the same values in another order differ by rounding errors, which are not a width.
    """
    size = np.abs(points).max(0)
    return (points / np.where(size > 0, size, 1.0)).round(_DECIMALS)
