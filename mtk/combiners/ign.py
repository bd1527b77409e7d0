"""IGN: weights in inverse proportion to the norms of the gradients."""

import keras
import tensorflow as tf

from mtk.combiners.gramian import GramianCombiner


@keras.saving.register_keras_serializable("mtk")
class IGN(GramianCombiner):
    """Inverse gradient norms: `w_i` in proportion to `1 / |g_i|`, with a sum of one.

    All gradients have the same length in the result. The weights sum to one: the mean scale. A
    gradient of zero has no direction and gets the weight zero.

    Permutations permute the weights, and scaling all gradients scales the result; it may conflict
    with a gradient. One backward pass for each task, as every method that reads the Gramian, though
    it needs the diagonal alone.

    Args:
        at: Where the gradients are taken; see `Combiner`.
        update_every: Steps between two computations of the weights.

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
        # Without any direction no task is preferred.
        everyone = tf.cast(present, weights.dtype)
        weights = tf.where(tf.reduce_any(directed), weights, everyone)
        return tf.cast(tf.math.divide_no_nan(weights, tf.reduce_sum(weights)), tf.float32)
