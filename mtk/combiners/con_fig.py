"""ConFIG: the direction of equal cosines to all gradients, as long as their sum along it."""

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.scaling import scale_and_decompose

# Eigenvalues of the cosine matrix (mean one) below this are rounding errors of a float32 Gramian.
RANK_TOLERANCE = 1e-6


@keras.saving.register_keras_serializable("mtk")
class ConFIG(PreferringCombiner):
    """Conflict-free inverse gradients: `d` with equal cosines to all gradients.

    With the cosines C of the gradients and the preference r (ones by default), `a = C^+ r` are the
    coefficients of the unit gradients in a direction whose cosines are in proportion to r. Its
    length is that of the projection of the sum of the gradients onto it, divided by their number K:
    the mean scale. (The authors do not divide.) So `w_i = s a_i / (K |g_i| sqrt(a' C a))` with
    `s = sum_i |g_i| (C a)_i / sqrt(a' C a)`.

    For linearly independent gradients the direction is that of `IMTLG`; the length differs. For
    dependent gradients the pseudo-inverse gives the direction whose cosines are nearest to equal,
    which may conflict with a gradient; for opposite gradients it is zero. The pseudo-inverse is
    that of the `(K, K)` cosines; the authors' is that of the matrix of all gradients.

    A zero gradient has weight zero, and counts in the mean. A preference of zero excludes a task.
    For nearly parallel gradients, a direction with unequal cosines is nearly orthogonal to them:
    there unequal preferences make short steps, and training may slow down far from the front.

    Permuting the tasks permutes the weights, and scaling all gradients scales the result, which
    conflicts with no gradient if they are independent. Each step takes one decomposition of a
    `(K, K)` matrix.

    Args:
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one, the preference negative, infinite, NaN or
            all zero, or, once the tasks are known, if it does not match them.

    Reference:
        Liu et al., *ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks*
        (2025), equations 2 and 3.
    """

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = self.takes_part(present)
        scaled, values, vectors = scale_and_decompose(gramian, takes_part)
        cosines, lengths, directed = scaled
        _, target = preferences.of_present(self.preferred, directed, lengths.dtype)
        along = tf.linalg.matvec(vectors, target, transpose_a=True)
        independent = values > RANK_TOLERANCE * self.num_tasks
        inverse = tf.where(independent, 1.0 / values, tf.zeros_like(values))
        ones = tf.cast(directed, lengths.dtype)
        shares = tf.linalg.matvec(vectors, inverse * along) * ones
        projections = tf.linalg.matvec(cosines, shares)
        square = tf.reduce_sum(shares * projections)
        number = tf.reduce_sum(tf.cast(takes_part, lengths.dtype))
        length = tf.math.divide_no_nan(tf.reduce_sum(lengths * projections), square * number)
        return tf.cast(tf.math.divide_no_nan(length * shares, lengths), tf.float32)
