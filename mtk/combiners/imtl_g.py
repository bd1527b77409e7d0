"""IMTL-G: the direction with equal projections on all gradients."""

import keras
import tensorflow as tf

from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.solvers.scaling import scale_and_decompose

# Eigenvalues of the cosine matrix (mean one) below this are rounding errors of a float32 Gramian.
RANK_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable("mtk")
class IMTLG(GramianCombiner):
    """Weighs the gradients so that the sum has the same projection on each of them.

    The weights solve `sum(w) = 1` and equal `d . g_i / |g_i|` for `d = sum_i w_i g_i`. With three
    or more tasks they may be negative, and large where they nearly cancel; the method is undefined
    where they sum to zero before normalization.

    In units of length, `x_i = w_i |g_i|`, and with the cosines C the condition is that all entries
    of `C x` are equal. A singular C is inverted with its smallest eigenvalues raised to rounding
    level. Parallel gradients thus share their weight, and where no direction has equal positive
    projections, as for opposite gradients, `x` is taken from the null space: `d = 0`. The paper
    inverts a matrix of differences, which is singular in both cases.

    A zero gradient has no direction and gets weight zero.

    Args:
        at: Where the gradients are taken; the paper takes them at the `"representation"`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one.

    Reference:
        Liu et al., *Towards Impartial Multi-task Learning* (2021), equations 2 to 5.
    """

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        return tf.cast(impartial_weights(gramian, present), tf.float32)


def impartial_weights(gramian: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the weights `(K,)` of equal projections, in the precision of the solvers.

    Args:
        gramian: Tensor `(K, K)` of inner products of the gradients.
        present: Boolean tensor `(K,)`.
    """
    scaled, values, vectors = scale_and_decompose(gramian, present)
    lengths, directed = scaled.lengths, scaled.directed
    ones = tf.cast(directed, lengths.dtype)
    along = tf.linalg.matvec(vectors, ones, transpose_a=True)
    tolerance = RANK_TOLERANCE * values.shape[0]
    # Noise along a null direction would be amplified to arbitrary weights.
    noise = (values < tolerance) & (tf.abs(along) < 1e-3)
    along = tf.where(noise, tf.zeros_like(along), along)
    solution = tf.linalg.matvec(vectors, along / tf.maximum(values, tolerance)) * ones
    smallest = tf.reduce_min(tf.where(directed, lengths, lengths.dtype.max))
    weights = solution * tf.math.divide_no_nan(smallest, lengths)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
    # If all gradients are zero, no task is preferred.
    everyone = tf.cast(present, weights.dtype)
    equal = tf.math.divide_no_nan(everyone, tf.reduce_sum(everyone))
    return tf.where(tf.reduce_any(directed), weights, equal)
