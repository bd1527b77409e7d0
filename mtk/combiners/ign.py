"""IGN: weights inversely proportional to the gradient norms."""

import keras
import tensorflow as tf

from mtk.combiners.gramian import GramianCombiner


@keras.saving.register_keras_serializable("mtk")
class IGN(GramianCombiner):
    """Inverse gradient norms: `w_i` proportional to `1 / |g_i|`, with a sum of one.

    All gradients have the same length in the result. The weights sum to one: the mean scale. A zero
    gradient has no direction and gets weight zero.

    Permuting the tasks permutes the weights, and scaling all gradients scales the result, which may
    conflict with a gradient. One backward pass per task, as for every method that reads the
    Gramian, although only the diagonal is needed.

    Args:
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one.

    Reference:
        arXiv:2509.23915 (2025): weights by inverse gradient norms.
    """

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        lengths = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
        directed = present & (lengths > 0.0)
        smallest = tf.reduce_min(tf.where(directed, lengths, lengths.dtype.max))
        weights = tf.where(directed, tf.math.divide_no_nan(smallest, lengths), 0.0)
        # If all gradients are zero, no task is preferred.
        everyone = tf.cast(present, weights.dtype)
        weights = tf.where(tf.reduce_any(directed), weights, everyone)
        return tf.cast(tf.math.divide_no_nan(weights, tf.reduce_sum(weights)), tf.float32)
