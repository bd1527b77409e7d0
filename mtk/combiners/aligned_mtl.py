"""Aligned-MTL: the gradients made orthogonal and equally long."""

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.graded import orthogonalize
from mtk.combiners.solvers.scaling import scale_and_decompose

# Eigenvalues of the cosines (their mean is one) below this are rounding of a float32 Gramian.
RANK_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable("mtk")
class AlignedMTL(PreferringCombiner):
    """Replaces the gradients by the nearest orthogonal system, as long as their weakest direction.

    With `G = V diag(l) V'` and the smallest positive eigenvalue `m` the weights are
    `sqrt(m) V diag(l)^(-1/2) V' p` for the preference `p`, of a sum of one: `(1/K, ..., 1/K)` by
    default. One of zero leaves a task out. The p are shares of the orthogonal system: where
    gradients point the same way its members do not, and a task may get less by a larger share.

    Gradients whose norms differ by 1e4 have eigenvalues that differ by 1e8, of which the smallest,
    the one that sets the length of the result, is lost in the decomposition of the authors' code.
    Here the decomposition is that of the gradients, in coordinates that the cosines give, by a
    method for columns of different size: it keeps the smallest one's digits.

    How many eigenvalues are positive is counted on the Gramian of the unit gradients: a small
    gradient has a small eigenvalue, and a tolerance on the Gramian itself, as in the authors' code,
    would take it for a missing direction. A gradient of zero gets the weight zero.

    Args:
        preference: One number for each task, by name or in their order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Steps between two computations of the weights.

    Raises:
        ValueError: If `update_every` is less than one, the preference negative, infinite, NaN or
            all zero, or, when the tasks are known, if it does not match them.

    Reference:
        Senushkin et al., *Independent Component Alignment for Multi-Task Learning* (2023),
        algorithm 1.
    """

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = self.takes_part(present)
        scaled, values, vectors = scale_and_decompose(gramian, takes_part)
        lengths, directed = scaled.lengths, scaled.directed
        independent = values > RANK_TOLERANCE * self.num_tasks
        # A task without a direction is one of the cosines' eigenvalues, but no direction.
        number = tf.reduce_sum(tf.cast(independent, tf.int32)) - tf.reduce_sum(
            tf.cast(~directed, tf.int32)
        )
        # Column i of `units` is the unit gradient i, in the coordinates of the eigenvectors.
        roots = tf.sqrt(tf.where(independent, values, 0.0))
        units = roots[:, None] * tf.transpose(vectors)
        relative = tf.math.divide_no_nan(lengths, tf.reduce_max(lengths))
        columns, turned, _ = orthogonalize(units * relative)
        sizes = tf.norm(columns, axis=0)
        larger = tf.reduce_sum(tf.cast(sizes[:, None] < sizes[None, :], tf.int32), 1)
        positive = (larger < number) & (sizes > 0.0)
        smallest = tf.reduce_min(tf.where(positive, sizes, sizes.dtype.max))
        factors = tf.where(positive, tf.math.divide_no_nan(smallest, sizes), 0.0)
        _, preference = preferences.of_present(self.preferred, present, sizes.dtype)
        preference = tf.math.divide_no_nan(preference, tf.reduce_sum(preference))
        along = factors * tf.linalg.matvec(turned, preference, transpose_a=True)
        weights = tf.linalg.matvec(turned, along)
        # `turned` has digits for the largest gradient; the direction itself gives those of small
        # weights, which multiply large gradients.
        missing = tf.linalg.matvec(columns, along)
        missing -= tf.linalg.matvec(units, weights * relative)
        change = tf.where(independent, tf.math.divide_no_nan(missing, roots), 0.0)
        change = tf.linalg.matvec(vectors, change)
        weights += tf.math.divide_no_nan(change, relative)
        return tf.cast(tf.where(directed, weights, 0.0), tf.float32)
