"""GLS: the geometric mean of the losses."""

import keras
import tensorflow as tf

from mtk.combiners.log_losses import LogLossCombiner


@keras.saving.register_keras_serializable("mtk")
class GLS(LogLossCombiner):
    """Geometric loss strategy: descends `(L_1 L_2 ... L_K)^(1/K)`.

    The weight of a task is `M / (K L_i)`, where M is the geometric mean of the losses. K equal
    losses have the weight 1/K each: the mean scale. Otherwise the weights sum to more than one.

    The mean is taken of the logarithms, since the product of many small losses underflows. A loss
    counts as its distance from its bound, `L_i - b_i`, and near it as in `ScaleInvariant`: a loss
    at or below its bound has weight zero, and the mean of the others does not vanish. A task that
    was never above its bound is left out of the mean. Losses that may be negative need a bound.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass; the state is two numbers per task.

    Args:
        bounds: Lower bounds b of the losses: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If, once the tasks are known, the bounds do not match them.

    Reference:
        Chennupati et al., *MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy
        for Multi-Task Learning* (2019), equation 2.
    """

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        self.log_losses.see(task_losses, present)
        distances = self.log_losses.distances(task_losses)
        smooth = self.log_losses.smooth(task_losses)
        # A loss that has always been zero has no finite logarithm.
        mask = tf.cast(present & self.log_losses.seen(), tf.float32)
        number = tf.reduce_sum(mask)
        logs = tf.math.log(smooth)
        mean = tf.math.divide_no_nan(tf.reduce_sum(logs * mask), number)
        weights = tf.exp(mean - logs) * (distances / smooth) * mask
        return tf.math.divide_no_nan(weights, number)
