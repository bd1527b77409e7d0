"""The vector in a ball that maximizes the smallest inner product with the gradients."""

from typing import NamedTuple

import tensorflow as tf

from mtk.combiners.solvers.interior_point import CAUTION
from mtk.combiners.solvers.scaling import ridge

# A problem of order one takes about ten; small balls take several tens.
MOST_ITERATIONS = 1000

# Penalty on `u^2 / 2`. If the mixture is longer than this, the ball constraint is active, `|u|` is
# fixed, and the penalty has no effect. If it vanishes, many `u` are optimal, and short ones win.
PRICE = 1e-4


class Ball(NamedTuple):
    """Maximize `t` where `rows . (center + u) >= t normal` and `|u| <= radius`.

    Attributes:
        rows: Tensor `(K, n)`.
        center: Tensor `(n,)`.
        normal: Tensor `(K,)`, non-negative. Rows where it is zero are ignored.
        radius: Positive number.
    """

    rows: tf.Tensor
    center: tf.Tensor
    normal: tf.Tensor
    radius: float


class _Point(NamedTuple):
    """Unknowns `u` and `t`; slacks of the K + 1 constraints and their multipliers."""

    u: tf.Tensor
    t: tf.Tensor
    slacks: tf.Tensor
    multipliers: tf.Tensor


class _Newton(NamedTuple):
    """Newton's equations at a point, with the Hessian factorized."""

    factor: tf.Tensor
    jacobian: tf.Tensor
    normal: tf.Tensor
    bend: tf.Tensor
    residual: tf.Tensor


@tf.function(autograph=False)
def dual(ball: Ball) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the multipliers of the rows, `(K,)`, at the solution; `normal . multipliers = 1`.

    They form the worst-case mixture of the rows, whose maximum over the ball is smallest. The dual
    problem, in the multipliers alone, contains a norm and is not differentiable where the mixture
    is zero. This primal-dual method keeps `u`, in which everything is quadratic.

    Args:
        ball: The problem, scaled to be of order one.

    Returns:
        The multipliers, and a boolean tensor `()`: whether they are optimal.

    Reference:
        Nocedal & Wright, *Numerical Optimization* (2006), algorithm 19.1.
    """
    ones = tf.ones((ball.rows.shape[0] + 1,), ball.rows.dtype)
    tolerance = 10.0 * ridge(ball.rows.dtype)

    def unfinished(step: tf.Tensor, error: tf.Tensor, point: _Point) -> tf.Tensor:
        del point
        return (step < MOST_ITERATIONS) & (error > tolerance)

    def improve(
        step: tf.Tensor, error: tf.Tensor, point: _Point
    ) -> tuple[tf.Tensor, tf.Tensor, _Point]:
        del error
        improved, error = _improve(ball, point)
        return step + 1, error, improved

    start = _Point(tf.zeros_like(ball.rows[0]), tf.zeros_like(ones[0]), ones, ones)
    largest = tf.constant(ones.dtype.max, ones.dtype)
    _, error, found = tf.while_loop(unfinished, improve, (tf.constant(0), largest, start))
    return found.multipliers[:-1], error <= tolerance


def _improve(ball: Ball, point: _Point) -> tuple[_Point, tf.Tensor]:
    """Returns the next point, and the optimality error of the given one."""
    newton = _factorize(ball, point)
    products = point.slacks * point.multipliers
    residuals = [
        tf.linalg.matvec(newton.jacobian, point.multipliers, transpose_a=True) - PRICE * point.u,
        newton.residual,
        products,
        1.0 - tf.reduce_sum(newton.normal * point.multipliers)[None],
    ]
    error = tf.reduce_max(tf.abs(tf.concat(residuals, 0)))
    # With smaller gaps the equations are singular up to rounding, and a step does harm.
    gap = tf.reduce_mean(products)
    error = tf.where(gap > 0.1 * ridge(gap.dtype), error, tf.zeros_like(error))
    # The progress of a step toward zero products determines the target. Mehrotra's second-order
    # correction is omitted: with the curved ball it is misleading where the mixture vanishes.
    ahead = _move(point, _direction(newton, point, -products), 1.0, ball.radius)
    reached = tf.reduce_mean(ahead.slacks * ahead.multipliers)
    target = gap * tf.clip_by_value((reached / gap) ** 3, 0.05, 1.0)
    direction = _direction(newton, point, target - products)
    return _move(point, direction, CAUTION, ball.radius), error


def _factorize(ball: Ball, point: _Point) -> _Newton:
    jacobian = tf.concat([ball.rows, -point.u[None, :]], 0)
    normal = tf.concat([ball.normal, [0.0]], 0)
    # A row that is ignored has an inactive constraint.
    room = tf.cast(ball.normal == 0.0, ball.normal.dtype)
    margins = tf.linalg.matvec(ball.rows, ball.center + point.u) - point.t * ball.normal + room
    inside = 0.5 * (ball.radius**2 - tf.reduce_sum(point.u**2))
    residual = tf.concat([margins, inside[None]], 0) - point.slacks
    ratios = point.multipliers / point.slacks
    hessian = tf.matmul(jacobian, jacobian * ratios[:, None], transpose_a=True)
    # Slacks near zero make the Hessian so large that any larger ridge would change the solution.
    relative = 1.0 + 1e-3 * ridge(hessian.dtype)
    diagonal = tf.linalg.diag_part(hessian) * relative + point.multipliers[-1] + PRICE
    factor = tf.linalg.cholesky(tf.linalg.set_diag(hessian, diagonal))
    bend = tf.linalg.matvec(jacobian, ratios * normal, transpose_a=True)
    return _Newton(factor, jacobian, normal, bend, residual)


def _direction(newton: _Newton, point: _Point, change: tf.Tensor) -> _Point:
    """Returns the step that changes the products by `change` and removes the residuals."""
    push = (change - point.multipliers * newton.residual) / point.slacks
    right = tf.linalg.matvec(newton.jacobian, point.multipliers + push, transpose_a=True)
    right -= PRICE * point.u
    both = tf.linalg.cholesky_solve(newton.factor, tf.stack([right, newton.bend], 1))
    lacks = 1.0 - tf.reduce_sum(newton.normal * (point.multipliers + push))
    ratios = point.multipliers / point.slacks
    steepness = tf.reduce_sum(ratios * newton.normal**2) - tf.reduce_sum(newton.bend * both[:, 1])
    t = tf.math.divide_no_nan(lacks + tf.reduce_sum(newton.bend * both[:, 0]), steepness)
    u = both[:, 0] + t * both[:, 1]
    slacks = tf.linalg.matvec(newton.jacobian, u) - t * newton.normal + newton.residual
    return _Point(u, t, slacks, (change - point.multipliers * slacks) / point.slacks)


def _move(point: _Point, direction: _Point, caution: float, longest: float) -> _Point:
    """Moves along `direction`: no further than `longest` in `u`, and not across the boundary."""
    rates = tf.minimum(direction.slacks / point.slacks, direction.multipliers / point.multipliers)
    size = caution / tf.maximum(-tf.reduce_min(rates), caution)
    size *= longest / tf.maximum(size * tf.norm(direction.u), longest)
    return _Point(*[old + size * new for old, new in zip(point, direction, strict=True)])
