"""DualProj: the mean gradient projected so that it conflicts with no gradient."""

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.quadratic import dual_cone_projection
from mtk.combiners.solvers.scaling import scale


@keras.saving.register_keras_serializable("mtk")
class DualProj(PreferringCombiner):
    """Projects the mean gradient onto the dual cone of all gradients.

    The dual cone is the set of directions `d` with `d . g_i >= 0` for every i. The projection of
    the mean is `sum_i w_i g_i` for the `w` that minimizes `w' G w` with `w >= r / K`, where the
    preference r has mean one. If no gradient conflicts with the mean, it is unchanged: the mean
    scale. `UPGrad` projects the gradients one by one.

    A zero gradient constrains nothing and adds nothing; its weight is its share of the mean. A
    preference of zero excludes a task.

    Permuting the tasks permutes the weights, and scaling all gradients scales the result, which
    conflicts with no gradient. Each step solves one quadratic program in K unknowns.

    Args:
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Attributes:
        unsolved: Number of steps so far in which the solver ran out of iterations; the best
            projection found is used.

    Raises:
        ValueError: If `update_every` is less than one, the preference negative, infinite, NaN or
            all zero, or, once the tasks are known, if it does not match them.

    Reference:
        Lopez-Paz & Ranzato, *Gradient Episodic Memory for Continual Learning* (2017), equations 8
        to 11, with the mean in place of the newest task's gradient.
    """

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.unsolved = self.add_state("unsolved", (), dtype="int64")

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = self.takes_part(present)
        scaled = scale(gramian, takes_part)
        lengths = scaled.lengths
        _, preference = preferences.of_present(self.preferred, present, lengths.dtype)
        number = tf.reduce_sum(tf.cast(takes_part, lengths.dtype))
        mean = tf.math.divide_no_nan(preference, number)
        # The longest term of the mean is the unit.
        unit = tf.reduce_max(mean * lengths)
        vector = tf.math.divide_no_nan(mean * lengths, unit)
        projection, solved = dual_cone_projection(scaled, vector[None, :])
        self.unsolved.assign_add(tf.cast(~solved, tf.int64))
        weights = tf.math.divide_no_nan(projection[0] * unit, lengths)
        return tf.cast(tf.where(scaled.directed, weights, mean), tf.float32)
