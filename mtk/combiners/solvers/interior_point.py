"""One interior-point method for all the problems with non-negative unknowns."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from mtk.combiners.solvers.scaling import ridge

Objective = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

MOST_ITERATIONS = 60
# Share of the way to the boundary that a step may go.
CAUTION = 0.99


class _Point(NamedTuple):
    """Unknowns `x`, multipliers `z` of their bounds, multiplier `y` of the equation."""

    x: tf.Tensor
    z: tf.Tensor
    y: tf.Tensor


class _Problem(NamedTuple):
    """Minimize `objective` where `x >= 0` and `normal . x = level`."""

    objective: Objective
    normal: tf.Tensor
    level: float


class _Newton(NamedTuple):
    """Newton's equations at a point: factorized once, solved for two right-hand sides."""

    factor: tf.Tensor
    across: tf.Tensor
    dual_residual: tf.Tensor
    primal_residual: tf.Tensor


def minimize(
    objective: Objective,
    start: tf.Tensor,
    normal: tf.Tensor | None = None,
) -> tf.Tensor:
    """Minimizes a convex function over non-negative vectors.

    `min f(x)` for `x >= 0` and, if there is a `normal`, `normal . x = 1`.
    A primal-dual method with Mehrotra's predictor and corrector, usually 6 to 15 Newton steps. If
    there are many solutions it goes to their center: equal tasks get equal weights.

    Args:
        objective: Maps `x` to the gradient `(..., n)` and the Hessian `(..., n, n)` of `f`, scaled
            to be of order one near the solution.
        start: Tensor `(..., n)`, positive. Leading dimensions are independent problems.
        normal: Tensor `(n,)`, or None for no equation.

    Returns:
        Tensor `(..., n)`.

    Reference:
        Mehrotra, *On the Implementation of a Primal-Dual Interior Point Method* (1992); Nocedal &
        Wright, *Numerical Optimization* (2006), algorithm 16.4.
    """
    tolerance = 10.0 * ridge(start.dtype)
    problem = (
        _Problem(objective, tf.zeros_like(start), 0.0)
        if normal is None
        else _Problem(objective, normal, 1.0)
    )

    def unfinished(step: tf.Tensor, error: tf.Tensor, point: _Point) -> tf.Tensor:
        del point
        return (step < MOST_ITERATIONS) & (tf.reduce_max(error) > tolerance)

    def improve(
        step: tf.Tensor, error: tf.Tensor, point: _Point
    ) -> tuple[tf.Tensor, tf.Tensor, _Point]:
        improved, error_there = _improve(problem, point)
        # A problem that is solved stays as it is while others of its batch go on.
        solved = error <= tolerance
        kept = [tf.where(solved, old, new) for old, new in zip(point, improved, strict=True)]
        return step + 1, tf.where(solved, error, error_there), _Point(*kept)

    multiplier = tf.zeros_like(start[..., :1])
    first = _Point(start, tf.ones_like(start), multiplier)
    infinite = multiplier + float("inf")
    return tf.while_loop(unfinished, improve, (tf.constant(0), infinite, first))[2].x


def _improve(problem: _Problem, point: _Point) -> tuple[_Point, tf.Tensor]:
    """Returns the next point, and how far from optimal the given one is."""
    newton = _factorize(problem, point)
    gap = _mean(point.x * point.z)
    error = tf.maximum(
        tf.reduce_max(tf.abs(newton.dual_residual), -1, keepdims=True),
        tf.reduce_max(point.x * point.z, -1, keepdims=True),
    )
    error = tf.maximum(error, tf.abs(newton.primal_residual))
    predicted = _direction(newton, problem, point, -point.x * point.z)
    ahead = _move(point, predicted, 1.0)
    target = gap * tf.clip_by_value(_mean(ahead.x * ahead.z) / gap, 0.0, 1.0) ** 3
    products = target - point.x * point.z - predicted.x * predicted.z
    return _move(point, _direction(newton, problem, point, products), CAUTION), error


def _factorize(problem: _Problem, point: _Point) -> _Newton:
    gradient, hessian = problem.objective(point.x)
    diagonal = tf.linalg.diag_part(hessian) * (1.0 + ridge(point.x.dtype)) + point.z / point.x
    factor = tf.linalg.cholesky(tf.linalg.set_diag(hessian, diagonal))
    normal = tf.broadcast_to(problem.normal, point.x.shape)
    return _Newton(
        factor,
        _solve(factor, normal),
        gradient - point.y * problem.normal - point.z,
        tf.reduce_sum(normal * point.x, -1, keepdims=True) - problem.level,
    )


def _direction(newton: _Newton, problem: _Problem, point: _Point, products: tf.Tensor) -> _Point:
    """Returns the step that changes `x * z` by `products` and removes the residuals."""
    free = _solve(newton.factor, products / point.x - newton.dual_residual)
    shift = tf.math.divide_no_nan(
        -newton.primal_residual - tf.reduce_sum(problem.normal * free, -1, keepdims=True),
        tf.reduce_sum(problem.normal * newton.across, -1, keepdims=True),
    )
    along = free + shift * newton.across
    return _Point(along, (products - point.z * along) / point.x, shift)


def _move(point: _Point, direction: _Point, caution: float) -> _Point:
    """Goes along `direction`, fully or the share `caution` of the way to the boundary."""
    rates = tf.maximum(-direction.x / point.x, -direction.z / point.z)
    fastest = tf.reduce_max(rates, -1, keepdims=True)
    size = tf.where(fastest > caution, caution / tf.maximum(fastest, caution), 1.0)
    moved = [old + size * change for old, change in zip(point, direction, strict=True)]
    return _Point(*moved)


def _solve(factor: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.linalg.cholesky_solve(factor, right[..., None])[..., 0]


def _mean(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(values, -1, keepdims=True)
