"""Aligned-MTL: gradients replaced by orthogonal ones of equal length."""

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.graded import orthogonalize
from mtk.combiners.solvers.scaling import scale_and_decompose

# Eigenvalues of the cosine matrix (mean one) below this are rounding errors of a float32 Gramian.
RANK_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable("mtk")
class AlignedMTL(PreferringCombiner):
    """Replaces the gradients by the nearest orthogonal system, scaled to their weakest direction.

    With `G = V diag(l) V'` and the smallest positive eigenvalue `m` the weights are
    `sqrt(m) V diag(l)^(-1/2) V' p` for the preference `p`, which sums to one: `(1/K, ..., 1/K)` by
    default. A preference of zero excludes a task. The p weigh the vectors of the orthogonal system,
    not the gradients: where these are aligned, a larger share may improve a task less.

    Gradients whose norms differ by 1e4 have eigenvalues that differ by 1e8, and the authors'
    decomposition loses the smallest of them, which sets the length of the result. Here the
    gradients themselves are decomposed, in coordinates given by the cosines, by a method for
    columns of different size, which keeps the digits of the smallest.

    The positive eigenvalues are counted on the Gramian of the unit gradients: a small gradient has
    a small eigenvalue, and a tolerance on the Gramian itself, as in the authors' code, would take
    it for a missing direction. A zero gradient gets weight zero.

    Args:
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one, the preference negative, infinite, NaN or
            all zero, or, once the tasks are known, if it does not match them.

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
        # A zero gradient contributes an eigenvalue to the cosine matrix, but no direction.
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
        # `turned` is accurate for the largest gradient; the residual of the direction restores the
        # digits of small weights, which multiply large gradients.
        missing = tf.linalg.matvec(columns, along)
        missing -= tf.linalg.matvec(units, weights * relative)
        change = tf.where(independent, tf.math.divide_no_nan(missing, roots), 0.0)
        change = tf.linalg.matvec(vectors, change)
        weights += tf.math.divide_no_nan(change, relative)
        return tf.cast(tf.where(directed, weights, 0.0), tf.float32)
