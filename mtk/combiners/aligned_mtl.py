"""Aligned-MTL: the gradients made orthogonal and equally long."""

import keras
import tensorflow as tf

from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.solvers.scaling import scale

# Eigenvalues of the cosines (their mean is one) below this are rounding of a float32 Gramian.
RANK_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable("mtk")
class AlignedMTL(GramianCombiner):
    """Replaces the gradients by the nearest orthogonal system, as long as their weakest direction.

    With `G = V diag(l) V'` and the smallest positive eigenvalue `m` the weights are
    `sqrt(m) V diag(l)^(-1/2) V' p` for the preference `p = (1/K, ..., 1/K)`.

    How many eigenvalues are positive is counted on the Gramian of the unit gradients: a small
    gradient has a small eigenvalue, and a tolerance on the Gramian itself, as in the authors' code,
    would take it for a missing direction. A gradient of zero gets the weight zero.

    Args:
        at: Where the gradients are taken; see `Combiner`.
        update_every: Steps between two computations of the weights.

    Raises:
        ValueError: If `update_every` is less than one.

    Reference:
        Senushkin et al., *Independent Component Alignment for Multi-Task Learning* (2023),
        algorithm 1.
    """

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        cosines, lengths, directed = scale(gramian, present)
        independent = tf.linalg.eigvalsh(cosines) > RANK_TOLERANCE * self.num_tasks
        # A task without a direction is one of the cosines' eigenvalues, but no direction.
        number = tf.reduce_sum(tf.cast(independent, tf.int32)) - tf.reduce_sum(
            tf.cast(~directed, tf.int32)
        )
        relative = tf.math.divide_no_nan(lengths, tf.reduce_max(lengths))
        values, vectors = tf.linalg.eigh(cosines * relative[:, None] * relative[None, :])
        # Eigenvalues ascend: the last `number` of them are the positive ones.
        positive = tf.range(self.num_tasks) >= self.num_tasks - number
        values = tf.where(positive, tf.maximum(values, 0.0), 0.0)
        smallest = tf.reduce_min(tf.where(positive, values, values.dtype.max))
        factors = tf.sqrt(tf.math.divide_no_nan(smallest, values))
        everyone = tf.cast(present, values.dtype)
        preference = tf.math.divide_no_nan(everyone, tf.reduce_sum(everyone))
        along = tf.linalg.matvec(vectors, preference, transpose_a=True)
        return tf.cast(tf.linalg.matvec(vectors, factors * along), tf.float32)
