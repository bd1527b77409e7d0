"""SI: the logarithms of the losses, so that their units do not matter."""

import keras
import tensorflow as tf

from mtk.combiners.log_losses import LogLossCombiner


@keras.saving.register_keras_serializable("mtk")
class ScaleInvariant(LogLossCombiner):
    """Descends the sum of the logarithms of the losses.

    The weight of a task is `1 / (L_i - b_i)`, divided by the sum over the tasks, so that the
    weights sum to one: the mean scale. (The gradient of the sum of logarithms grows without bound
    as losses fall; here only its direction is used.) The unit of a loss does not affect the
    direction.

    The paper adds 1e-8 to a loss, so that a loss of zero takes all the weight. Here the logarithm
    is `log(D^2 + d_i^2) / 2`, with `D = max(L_i - b_i, 0)` and `d_i` a thousandth of the task's
    first positive distance: a loss at or below its bound has weight zero. Losses that may be
    negative need a bound. Where all losses are at their bounds the weights are equal.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass; the state is two numbers per task.

    Args:
        bounds: Lower bounds b of the losses: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If, once the tasks are known, the bounds do not match them.

    Reference:
        Lin et al., *A Scale-Invariant Task Balancing Approach for Multi-Task Learning* (2023): the
        logarithm of the losses in SI-MTL. Its gradient balancing is that of `IGN`, except for the
        length.
    """

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        self.log_losses.see(task_losses, present)
        everyone = tf.cast(present, tf.float32)
        return self.log_losses.normalized_slopes(task_losses, present, everyone)
