"""The fairness equation whose solutions are the weights of Nash-MTL and FairGrad."""

import tensorflow as tf

MOST_ITERATIONS = 100
# The smallest norm of the direction, relative to its longest summand and to sqrt(K), that counts as
# an agreement. A shorter one consists of the rounding error of a float32 Gramian.
WEAKEST_AGREEMENT = 1e-3


@tf.function(autograph=False)
def fair_shares(
    cosines: tf.Tensor, demands: tf.Tensor, exponent: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Solves `C x = c / x^e` for positive x.

    The solution is the minimum of `x' C x / 2 - sum_i c_i x_i^(1-e) / (1-e)` (for `e = 1`, of
    `x' C x / 2 - sum_i c_i log(x_i)`), a smooth convex function, found by damped Newton steps,
    usually fewer than ten. At a Pareto stationary point there is no minimum, and x grows while the
    direction `sum_i x_i u_i` stays short; the iteration stops when the direction can no longer be
    distinguished from rounding error.

    Args:
        cosines: Tensor `(K, K)`, C, positive semidefinite with a unit diagonal.
        demands: Tensor `(K,)`, c, positive.
        exponent: e, positive.

    Returns:
        Tensor `(K,)`, and a boolean tensor `()`: whether it is a solution.

    Reference:
        Boyd & Vandenberghe, *Convex Optimization* (2004), section 9.5.
    """
    least = WEAKEST_AGREEMENT**2 * cosines.shape[0]

    def long(x: tf.Tensor) -> tf.Tensor:
        return _square(cosines, x) > least * tf.reduce_max(x) ** 2

    def unfinished(step: tf.Tensor, x: tf.Tensor, change: tf.Tensor) -> tf.Tensor:
        return (step < MOST_ITERATIONS) & (change > 1e-9) & long(x)

    def improve(step: tf.Tensor, x: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        pull = demands * x**-exponent
        slope = tf.linalg.matvec(cosines, x) - pull
        diagonal = tf.linalg.diag_part(cosines) + exponent * pull / x
        factor = tf.linalg.cholesky(tf.linalg.set_diag(cosines, diagonal))
        change = -tf.linalg.cholesky_solve(factor, slope[:, None])[:, 0] / x
        # With r the largest relative decrease, a step of 1 / (1 + r) leaves all x positive.
        size = 1.0 / (1.0 + tf.maximum(tf.reduce_max(-change), 0.0))
        return step + 1, x * (1.0 + size * change), tf.reduce_max(tf.abs(change))

    largest = tf.constant(cosines.dtype.max, cosines.dtype)
    start = (tf.constant(0), _start(cosines, demands, exponent), largest)
    x = tf.while_loop(unfinished, improve, start)[1]
    error = tf.abs(tf.linalg.matvec(cosines, x) * x**exponent / demands - 1.0)
    return x, (tf.reduce_max(error) < 1e-5) & long(x)


def _square(cosines: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(x * tf.linalg.matvec(cosines, x))


def _start(cosines: tf.Tensor, demands: tf.Tensor, exponent: float) -> tf.Tensor:
    """Returns the best multiple, up to a bound, of the solution for orthogonal gradients."""
    x = demands ** (1.0 / (1.0 + exponent))
    squares = tf.reduce_sum(x**2)
    bend = tf.maximum(_square(cosines, x), 1e-2 * squares)
    # For that solution `sum(c x^(1-e))` is the sum of its squares.
    return x * (squares / bend) ** (1.0 / (1.0 + exponent))
