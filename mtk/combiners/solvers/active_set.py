"""Non-negative quadratic programs by guessing the active bounds: fast for most problems."""

import tensorflow as tf

from mtk.combiners.solvers.scaling import ridge

MOST_GUESSES = 10


def block_pivoting(matrix: tf.Tensor, linear: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimizes `x . matrix x / 2 + linear . x` over `x >= 0`, if a few guesses suffice.

    Starts with all `x` at their bound. Each iteration solves for the free variables, then frees
    those at a bound with a negative slope and binds those that became negative. An iteration costs
    less than a step of the interior-point method, and about six are enough; but the guesses may
    cycle, as they do for linearly dependent gradients.

    Args:
        matrix: Tensor `(n, n)`, positive semidefinite with a unit diagonal.
        linear: Tensor `(m, n)`: m problems.

    Returns:
        The solutions `(m, n)`, and a boolean tensor `()`: whether all of them are optimal.

    Reference:
        Kim & Park, *Fast Nonnegative Matrix Factorization* (2011), section 4.1, without the backup
        rule.
    """
    tolerance = 100.0 * ridge(matrix.dtype)
    diagonal = tf.linalg.diag_part(matrix) * (1.0 + ridge(matrix.dtype))

    def unfinished(turn: tf.Tensor, free: tf.Tensor, x: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        del free, x
        return (turn < MOST_GUESSES) & ~right

    def improve(
        turn: tf.Tensor, free: tf.Tensor, x: tf.Tensor, right: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        del x, right
        mask = tf.cast(free, matrix.dtype)
        system = matrix * mask[:, :, None] * mask[:, None, :]
        system = tf.linalg.set_diag(system, 1.0 + mask * (diagonal - 1.0))
        factor = tf.linalg.cholesky(system)
        x = tf.linalg.cholesky_solve(factor, -(linear * mask)[..., None])[..., 0]
        slope = tf.matmul(x, matrix) + linear
        wrong = tf.where(free, x, slope) < -tolerance
        # Nearly dependent free gradients can make the solution inaccurate.
        solved = tf.reduce_all(tf.abs(slope * mask) < 10.0 * tolerance)
        right = solved & ~tf.reduce_any(wrong)
        return turn + 1, free ^ wrong, x, right

    start = (tf.constant(0), tf.zeros_like(linear, tf.bool), linear, tf.constant(False))
    _, _, x, right = tf.while_loop(unfinished, improve, start)
    return tf.maximum(x, 0.0), right
