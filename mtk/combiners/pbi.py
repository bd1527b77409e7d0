"""PBI: descent along a ray of losses, with a penalty for leaving it."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.losses import LossCombiner
from mtk.combiners.solvers.scaling import solver_dtype
from mtk.per_task import PerTask, in_task_order, plain
from mtk.ranges import check_nonnegative
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class PBI(LossCombiner):
    """Penalty-based boundary intersection: descends `d_1 + theta d_2`.

    `d_1` is the distance of the losses, less their ideal z, along a ray from zero, and `d_2` their
    distance from the ray. The ray goes through losses inversely proportional to the preference,
    `L_i - z_i = 1 / r_i`, as the optimum of `Tchebycheff`: a preferred task ends lower.

    With u the ray's unit vector and v that of the vector from the ray to the losses, the weights
    are `u + theta v`, divided by the sum of u: the mean scale for losses on the ray. Off the ray a
    task that is ahead of the others has a **negative** weight as soon as theta is large enough: its
    loss is raised until the losses are back on the ray. Head weights are clipped at zero, so that
    no head ascends its loss. A preference of zero excludes a task and its head.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass (a second one through the heads), no state.

    Args:
        theta: The penalty factor.
        preference: One number per task, by name or in task order; equal by default.
        ideal: The ideal losses z: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If theta is negative or not finite, the preference negative, infinite, NaN or
            all zero, or, once the tasks are known, if preference or ideal do not match them.

    Reference:
        Zhang & Li, *MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition* (2007),
        section II.C.
    """

    weighs_heads = False

    def __init__(
        self,
        theta: float = 5.0,
        preference: Annotated[PerTask | None, Ratios()] = None,
        ideal: PerTask = 0.0,
        name: str | None = None,
    ):
        check_nonnegative(theta=theta)
        super().__init__(name=name)
        self.theta = theta
        self.preference = preferences.checked(preference)
        self.ideal = plain("ideal", ideal)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.preferred = preferences.in_order(self.preference, self.task_names, num_tasks)
        self.lowest = in_task_order("ideal", self.ideal, self.task_names, num_tasks)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        dtype = solver_dtype()
        takes_part, preference = preferences.of_present(self.preferred, present, dtype)
        ray = tf.math.reciprocal_no_nan(preference)
        ray = tf.math.divide_no_nan(ray, tf.norm(ray))
        losses = tf.cast(task_losses, dtype) - tf.constant(self.lowest, dtype)
        losses = tf.where(takes_part, losses, tf.zeros_like(losses))
        losses = tf.math.divide_no_nan(losses, tf.reduce_max(tf.abs(losses)))
        off = losses - tf.reduce_sum(losses * ray) * ray
        # Closer than this to the ray, the direction is rounding error.
        least = float(tf.experimental.numpy.finfo(dtype.as_numpy_dtype).eps) ** 0.5
        weights = ray + self.theta * off / tf.maximum(tf.norm(off), least)
        weights = tf.where(takes_part, weights, tf.zeros_like(weights))
        return tf.cast(tf.math.divide_no_nan(weights, tf.reduce_sum(ray)), tf.float32)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return tf.where(present, tf.maximum(task_weights, 0.0), 0.0)
