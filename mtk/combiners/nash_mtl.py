"""Nash-MTL: the gradients bargain about the direction."""

from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.solvers.scaling import scale

# The largest beta that counts as an agreement. The cosine of the direction with gradient i is
# 1 / (beta_i sqrt(K)); below about 1e-3 it is made of the rounding of a float32 Gramian.
WEAKEST_AGREEMENT = 1e3


@keras.saving.register_keras_serializable("mtk")
class NashMTL(GramianCombiner):
    """Takes the Nash bargaining solution: `w > 0` with `G w = 1 / w`.

    With `beta_i = w_i |g_i|` and the cosines C this is `C beta = 1 / beta`, the minimum of
    `beta' C beta / 2 - sum(log(beta))`, a smooth convex function whose minimum damped Newton steps
    find to rounding. The authors solve a sequence of convex programs to a loose tolerance.

    The direction has its own length, `|sum_i w_i g_i|^2 = K`, whatever the length of the gradients:
    K equal gradients g give `sqrt(K) g / |g|`. `rescale=True` divides by the sum of the weights.

    Where the gradients are Pareto stationary there is no solution. Then the parties stay where
    they are, at the disagreement point of the game: all weights are zero. (The authors keep
    the last weights.) A gradient of zero bargains about nothing: its weight is zero, and K
    counts the others.

    Args:
        rescale: Whether the weights are divided by their sum, which gives the mean scale.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Steps between two computations of the weights.

    Raises:
        ValueError: If `update_every` is less than one.

    Reference:
        Navon et al., *Multi-Task Learning as a Bargaining Game* (2022), claim 3.1 and algorithm 1.
    """

    def __init__(
        self,
        rescale: bool = False,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        super().__init__(at=at, update_every=update_every, name=name)
        self.rescale = rescale

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        cosines, lengths, directed = scale(gramian, present)
        beta = _bargain(cosines)
        error = tf.abs(beta * tf.linalg.matvec(cosines, beta) - 1.0)
        agreed = (tf.reduce_max(error) < 1e-5) & (tf.reduce_max(beta) < WEAKEST_AGREEMENT)
        weights = tf.math.divide_no_nan(tf.where(directed & agreed, beta, 0.0), lengths)
        if self.rescale:
            weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
        return tf.cast(weights, tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rescale": self.rescale}


def _bargain(cosines: tf.Tensor) -> tf.Tensor:
    """Minimizes `beta' C beta / 2 - sum(log(beta))`; gives up where `beta` gets too large."""
    num_tasks = cosines.shape[0]

    def unfinished(step: tf.Tensor, beta: tf.Tensor, decrement: tf.Tensor) -> tf.Tensor:
        return (step < 100) & (decrement > 1e-9) & (tf.reduce_max(beta) < WEAKEST_AGREEMENT)

    def improve(step: tf.Tensor, beta: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, ...]:
        slope = tf.linalg.matvec(cosines, beta) - 1.0 / beta
        hessian = tf.linalg.set_diag(cosines, tf.linalg.diag_part(cosines) + beta**-2.0)
        change = -tf.linalg.cholesky_solve(tf.linalg.cholesky(hessian), slope[:, None])[:, 0]
        # With r the largest relative decrease, a step of 1 / (1 + r) leaves all beta positive and
        # lowers the function by at least half of what its slope promises.
        size = 1.0 / (1.0 + tf.maximum(tf.reduce_max(-change / beta), 0.0))
        return step + 1, beta + size * change, tf.reduce_max(tf.abs(change / beta))

    # The best of all vectors with equal entries, within reason.
    equal = (tf.reduce_sum(cosines) / num_tasks) ** -0.5
    start = tf.ones_like(cosines[0]) * tf.clip_by_value(equal, num_tasks**-0.5, 10.0)
    infinite = tf.constant(float("inf"), cosines.dtype)
    return tf.while_loop(unfinished, improve, (tf.constant(0), start, infinite))[1]
