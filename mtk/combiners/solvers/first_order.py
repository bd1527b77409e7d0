"""Non-negative quadratic programs by matrix products: fast for many problems at once."""

import tensorflow as tf

from mtk.combiners.solvers.scaling import ridge

MOST_ROUNDS = 6
_DESCENT_STEPS = 30
_MOST_CONJUGATE_STEPS = 100


def descend(matrix: tf.Tensor, linear: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimizes `x . matrix x / 2 + linear . x` over `x >= 0`, if a few rounds suffice.

    All m problems share one matrix, so one matrix product is a step of all of them, whereas a
    method based on factorizations computes m of them. A round takes steps of accelerated projected
    gradient descent, which identify the zeros of `x`, and solves for the other entries by conjugate
    gradients. Ill-conditioned matrices need more steps than are taken.

    Args:
        matrix: Tensor `(n, n)`, positive semidefinite with a unit diagonal.
        linear: Tensor `(m, n)`: m problems.

    Returns:
        The solutions `(m, n)`, and a boolean tensor `()`: whether all of them are optimal.

    Reference:
        O'Donoghue & Candès, *Adaptive Restart for Accelerated Gradient Schemes* (2015), section
        3.2; Nocedal & Wright, *Numerical Optimization* (2006), section 16.7.
    """
    tolerance = 100.0 * ridge(matrix.dtype)
    step = 1.0 / _largest_eigenvalue(matrix)

    def unfinished(turn: tf.Tensor, x: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        del x
        return (turn < MOST_ROUNDS) & ~right

    def improve(turn: tf.Tensor, x: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, ...]:
        del right
        x = _descent(matrix, linear, tf.maximum(x, 0.0), step)
        free = x > 0.0
        solved = _conjugate(matrix, linear, x, tf.cast(free, x.dtype), tolerance)
        # The better of two points: the step cut at the first bound, or the full step, clipped.
        way = solved - x
        limits = tf.where(way < -tolerance, tf.math.divide_no_nan(x, -way), 1.0)
        size = tf.minimum(tf.reduce_min(limits, -1, keepdims=True), 1.0)
        short, clipped = tf.maximum(x + size * way, 0.0), tf.maximum(solved, 0.0)
        lower = _value(matrix, linear, clipped) <= _value(matrix, linear, short)
        x = tf.where(lower, clipped, short)
        slope = tf.matmul(x, matrix) + linear
        error = tf.where(x > 0.0, tf.abs(slope), -slope)
        return turn + 1, x, tf.reduce_max(error) <= tolerance

    # Without conflicts zero is the solution.
    right = tf.reduce_min(linear) >= -tolerance
    start = (tf.constant(0), tf.zeros_like(linear), right)
    _, x, right = tf.while_loop(unfinished, improve, start)
    return tf.maximum(x, 0.0), right


def _value(matrix: tf.Tensor, linear: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x * (0.5 * tf.matmul(x, matrix) + linear), -1, keepdims=True)


def _largest_eigenvalue(matrix: tf.Tensor) -> tf.Tensor:
    """Returns an upper bound of the largest eigenvalue, at most `n^(1/16)` times as large."""
    power = matrix
    for _ in range(3):
        power = tf.matmul(power, power)
    return tf.norm(power) ** (1.0 / 8.0)


def _descent(matrix: tf.Tensor, linear: tf.Tensor, x: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Takes accelerated projected gradient steps, restarting the problems that overshoot."""

    def advance(
        turn: tf.Tensor, x: tf.Tensor, ahead: tf.Tensor, pace: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        reached = tf.maximum(ahead - step * (tf.matmul(ahead, matrix) + linear), 0.0)
        way = reached - x
        back = tf.reduce_sum((ahead - reached) * way, -1, keepdims=True) > 0.0
        pace = tf.where(back, tf.ones_like(pace), pace)
        following = 0.5 * (1.0 + tf.sqrt(1.0 + 4.0 * pace**2))
        return turn + 1, reached, reached + (pace - 1.0) / following * way, following

    start = (tf.constant(0), x, x, tf.ones_like(x[:, :1]))
    return tf.while_loop(lambda turn, *_: turn < _DESCENT_STEPS, advance, start)[1]


def _conjugate(
    matrix: tf.Tensor, linear: tf.Tensor, x: tf.Tensor, mask: tf.Tensor, tolerance: float
) -> tf.Tensor:
    """Minimizes over the `x` whose mask is one by conjugate gradients; the others stay zero.

    A problem that is solved, or has no curvature along its direction, is frozen while others go on.
    Its residual is rounding error, which could move it arbitrarily far where gradients cancel.
    """
    flat = ridge(matrix.dtype)

    def unfinished(turn: tf.Tensor, x: tf.Tensor, residual: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        del x
        far = tf.reduce_max(tf.abs(residual)) > 0.1 * tolerance
        return (turn < _MOST_CONJUGATE_STEPS) & far

    def advance(
        turn: tf.Tensor, x: tf.Tensor, residual: tf.Tensor, way: tf.Tensor, square: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        image = tf.matmul(way, matrix) * mask
        bend = tf.reduce_sum(way * image, -1, keepdims=True)
        far = tf.reduce_max(tf.abs(residual), -1, keepdims=True) > 0.1 * tolerance
        moves = far & (bend > flat * tf.reduce_sum(way**2, -1, keepdims=True))
        size = tf.where(moves, tf.math.divide_no_nan(square, bend), 0.0)
        residual -= size * image
        new_square = tf.reduce_sum(residual**2, -1, keepdims=True)
        following = residual + tf.math.divide_no_nan(new_square, square) * way
        return turn + 1, x + size * way, residual, following, new_square

    residual = -(tf.matmul(x, matrix) + linear) * mask
    square = tf.reduce_sum(residual**2, -1, keepdims=True)
    start = (tf.constant(0), x, residual, residual, square)
    return tf.while_loop(unfinished, advance, start)[1]
