"""UPGrad: the mean of the gradients, each projected so that it conflicts with none."""

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.quadratic import dual_cone_projection
from mtk.combiners.solvers.scaling import scale


@keras.saving.register_keras_serializable("mtk")
class UPGrad(PreferringCombiner):
    """Averages the projections of the gradients onto the dual cone of all gradients.

    The dual cone is the set of directions `d` with `d . g_j >= 0` for every j. The projection of
    `g_i` is `sum_j v_j g_j` for the `v` that minimizes `v' G v` with `v >= e_i`.

    A preference r, normalized to mean one, weighs the projections. A zero gradient constrains
    nothing and adds nothing; its weight is its share of the mean. A preference of zero excludes a
    task.

    Attributes:
        unsolved: Number of steps so far in which the solver ran out of iterations; the best
            projections found are used.

    Args:
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one, the preference negative, infinite, NaN or
            all zero, or, once the tasks are known, if it does not match them.

    Reference:
        Quinton & Rey, *Jacobian Descent for Multi-Objective Optimization* (2024), equation 4 and
        proposition 1.
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
        _, preference = preferences.of_present(self.preferred, present, scaled.lengths.dtype)
        units = tf.eye(self.num_tasks, dtype=scaled.lengths.dtype)
        projections, solved = dual_cone_projection(scaled, units)
        self.unsolved.assign_add(tf.cast(~solved, tf.int64))
        # Row i projects unit gradient i, which is rescaled to its gradient's length here.
        total = tf.linalg.matvec(projections, preference * scaled.lengths, transpose_a=True)
        weights = tf.math.divide_no_nan(total, scaled.lengths)
        weights = tf.where(scaled.directed, weights, preference)
        number = tf.reduce_sum(tf.cast(takes_part, weights.dtype))
        return tf.cast(tf.math.divide_no_nan(weights, number), tf.float32)
