"""The interior-point method for all problems with non-negative unknowns."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from mtk.combiners.solvers.scaling import ridge

Objective = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

MOST_ITERATIONS = 60
# Fraction of the distance to the boundary that a step may cover.
CAUTION = 0.99


class _Point(NamedTuple):
    """Unknowns `x`, multipliers `z` of their bounds, multiplier `y` of the equation."""

    x: tf.Tensor
    z: tf.Tensor
    y: tf.Tensor


class _Newton(NamedTuple):
    """Newton's equations at a point, factorized.

    `slope` is the gradient of the Lagrangian without the bounds, `missing` is `1 - normal . x`, and
    `across` is the direction that corrects it.
    """

    factor: tf.Tensor
    slope: tf.Tensor
    normal: tf.Tensor | None
    missing: tf.Tensor
    across: tf.Tensor


def minimize(
    objective: Objective, start: tf.Tensor, normal: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimizes a convex function over non-negative vectors.

    `min f(x)` for `x >= 0` and, if there is a `normal`, `normal . x = 1`. A primal-dual method with
    Mehrotra's predictor and corrector, usually 6 to 12 Newton steps. If there are many solutions it
    converges to their center, so that equal tasks get equal weights.

    Args:
        objective: Maps `x` to the gradient `(..., n)` and the Hessian `(..., n, n)` of `f`, scaled
            to be of order one near the solution.
        start: Tensor `(..., n)`, positive. Leading dimensions are independent problems.
        normal: Tensor `(n,)`, or None for no equation.

    Returns:
        Tensor `(..., n)`, and a boolean tensor `()`: whether all problems were solved to optimality
        within the maximum number of iterations.

    Reference:
        Mehrotra, *On the Implementation of a Primal-Dual Interior Point Method* (1992); Nocedal &
        Wright, *Numerical Optimization* (2006), algorithm 16.4.
    """
    tolerance = 10.0 * ridge(start.dtype)

    def unfinished(step: tf.Tensor, error: tf.Tensor, point: _Point) -> tf.Tensor:
        del point
        return (step < MOST_ITERATIONS) & (tf.reduce_max(error) > tolerance)

    def improve(
        step: tf.Tensor, error: tf.Tensor, point: _Point
    ) -> tuple[tf.Tensor, tf.Tensor, _Point]:
        improved, error_here = _improve(objective, normal, point)
        # A solved problem is frozen while others of its batch go on.
        solved = error <= tolerance
        kept = [tf.where(solved, old, new) for old, new in zip(point, improved, strict=True)]
        return step + 1, tf.where(solved, error, error_here), _Point(*kept)

    zero = tf.zeros_like(start[..., :1])
    first = _Point(start, tf.ones_like(start), zero)
    start_state = (tf.constant(0), zero + start.dtype.max, first)
    _, error, point = tf.while_loop(unfinished, improve, start_state)
    return point.x, tf.reduce_max(error) <= tolerance


def _improve(
    objective: Objective, normal: tf.Tensor | None, point: _Point
) -> tuple[_Point, tf.Tensor]:
    """Returns the next point, and the optimality error of the given one.

    Steps of `x` and `z` are relative to them: `dx = x r` and `dz = z s`. Then `r + s = q` changes
    the product `x z` by `x z q` to first order; `r s` is the second-order term.
    """
    products = point.x * point.z
    newton = _factorize(objective, normal, point)
    residual = newton.slope - point.z
    # At an active bound with a zero multiplier, x and z are both the square root of their product.
    error = tf.maximum(_max(tf.abs(residual)), 100.0 * _max(products))
    error = tf.maximum(error, tf.abs(newton.missing))
    # Predictor: all products to zero. The progress that is possible determines the target.
    r, _ = _solve(newton, -newton.slope, point.x)
    s = -1.0 - r
    size = _size(r, s, 1.0)
    gap = _mean(products)
    reached = _mean(products * (1.0 + size * r) * (1.0 + size * s))
    target = gap * tf.clip_by_value(reached / gap, 0.0, 1.0) ** 3
    # Corrector: all products to the target.
    q = target / products - 1.0 - r * s
    r, shift = _solve(newton, q * point.z - residual, point.x)
    s = q - r
    size = _size(r, s, CAUTION)
    moved = _Point(point.x * (1.0 + size * r), point.z * (1.0 + size * s), point.y + size * shift)
    return moved, error


def _factorize(objective: Objective, normal: tf.Tensor | None, point: _Point) -> _Newton:
    gradient, hessian = objective(point.x)
    diagonal = tf.linalg.diag_part(hessian) * (1.0 + ridge(point.x.dtype)) + point.z / point.x
    factor = tf.linalg.cholesky(tf.linalg.set_diag(hessian, diagonal))
    if normal is None:
        return _Newton(factor, gradient, None, tf.zeros_like(point.y), point.x)
    across = tf.linalg.cholesky_solve(factor, normal[..., None])[..., 0]
    missing = 1.0 - tf.reduce_sum(normal * point.x, -1, keepdims=True)
    return _Newton(factor, gradient - point.y * normal, normal, missing, across)


def _solve(newton: _Newton, right: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the step of `x`, relative to it, and the step of `y`."""
    free = tf.linalg.cholesky_solve(newton.factor, right[..., None])[..., 0]
    if newton.normal is None:
        return free / x, newton.missing
    lacks = newton.missing - tf.reduce_sum(newton.normal * free, -1, keepdims=True)
    # A normal of zero (no task takes part) imposes no condition.
    steepness = tf.reduce_sum(newton.normal * newton.across, -1, keepdims=True)
    shift = tf.math.divide_no_nan(lacks, steepness)
    return (free + shift * newton.across) / x, shift


def _size(r: tf.Tensor, s: tf.Tensor, caution: float) -> tf.Tensor:
    """Returns the step size: at most 1 and the fraction `caution` of the way to the boundary."""
    steepest = -tf.reduce_min(tf.minimum(r, s), -1, keepdims=True)
    return caution / tf.maximum(steepest, caution)


def _max(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(values, -1, keepdims=True)


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, -1, keepdims=True)
