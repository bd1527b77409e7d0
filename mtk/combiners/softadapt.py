"""SoftAdapt: tasks whose loss rises, or falls slowly, get more weight."""

from typing import Literal

import keras
import tensorflow as tf

from mtk.combiners.losses import LossCombiner
from mtk.ranges import check_choice

Variant = Literal["original", "loss_weighted", "normalized"]


@keras.saving.register_keras_serializable("mtk")
class SoftAdapt(LossCombiner):
    """Weighs tasks by the slopes of their recent losses: `w = softmax(beta s)`.

    `s_i` is the slope, per step, of the recent losses of task i. The three variants of the paper:

    * `"original"`: as above. A slope is in units of the loss: where losses change by less than
      `1 / beta` in a step, the weights are nearly equal.
    * `"loss_weighted"`: `w_i` proportional to `L_i exp(beta s_i)`, where `L_i` is the mean of the
      recent losses; a task whose mean is not positive has weight zero, unless all have.
    * `"normalized"`: the slopes divided by the sum of their absolute values.

    The weights sum to one: the mean scale. The slope is that of a least-squares line through the
    recent losses; the paper's high-order difference quotients amplify the noise of batches. Steps
    without labels of a task are skipped. Until a task has had `window` losses its slope is zero.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass; the state is `window + 1` numbers per task.

    Args:
        beta: Larger means further from equal weights; negative favors tasks whose losses fall
            fastest.
        window: Number of recent losses, at least two.
        variant: See above.

    Raises:
        ValueError: If beta is not finite, the window less than two, or the variant is not one of
            the three.

    Reference:
        Heydari et al., *SoftAdapt: Techniques for Adaptive Loss Weighting of Neural Networks with
        Multi-Part Loss Functions* (2019), algorithm 1.
    """

    def __init__(
        self,
        beta: float = 0.1,
        window: int = 5,
        variant: Variant = "original",
        name: str | None = None,
    ):
        if not abs(beta) < float("inf"):
            raise ValueError(f"`beta` must be a finite number. Received: {beta}")
        if window < 2:
            raise ValueError(f"`window` must be a number of losses, 2 or more. Received: {window}")
        check_choice(Variant, variant=variant)
        super().__init__(name=name)
        self.beta = beta
        self.window = window
        self.variant = variant

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.history = self.add_state("history", (self.window, num_tasks))
        self.seen = self.add_state("seen", (num_tasks,))

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        old = tf.convert_to_tensor(self.history)
        history = tf.where(present, tf.concat([old[1:], task_losses[None]], 0), old)
        seen = self.seen + tf.cast(present, tf.float32)
        self.history.assign(history)
        # The count stops at the window size: incrementing a large float32 has no effect.
        self.seen.assign(tf.minimum(seen, float(self.window)))
        slopes = tf.where(seen >= self.window, _slopes(history), 0.0)
        slopes = tf.where(present, slopes, 0.0)
        if self.variant == "normalized":
            slopes = tf.math.divide_no_nan(slopes, tf.reduce_sum(tf.abs(slopes)))
        far = tf.where(present, self.beta * slopes, tf.float32.min)
        weights = tf.where(present, tf.exp(far - tf.reduce_max(far)), 0.0)
        if self.variant == "loss_weighted":
            # Unfilled rows are zero.
            means = tf.math.divide_no_nan(tf.reduce_sum(history, 0), tf.minimum(seen, self.window))
            means = tf.maximum(means, 0.0)
            sized = weights * tf.math.divide_no_nan(means, tf.reduce_max(means))
            weights = tf.where(tf.reduce_sum(sized) > 0.0, sized, weights)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))


def _slopes(history: tf.Tensor) -> tf.Tensor:
    """Returns the slopes `(K,)` of least-squares lines through the columns of `(n, K)`."""
    number = history.shape[0]
    times = tf.range(number, dtype=history.dtype) - (number - 1) / 2.0
    return tf.linalg.matvec(history, times, transpose_a=True) / tf.reduce_sum(times**2)
