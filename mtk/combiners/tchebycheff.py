"""Tchebycheff scalarization: only the worst task."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.losses import LossCombiner
from mtk.per_task import PerTask, in_task_order, plain
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class Tchebycheff(LossCombiner):
    """Descends `max_i r_i (L_i - z_i)`, for a preference r and the ideal losses z.

    The task at the maximum has weight one (the mean scale: its factor `r_i` is omitted), the others
    zero. Tasks that are exactly at the maximum share the weight equally. A task with a large
    preference has to come closer to its ideal; a preference of zero excludes a task and its head.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass, no state.

    Args:
        preference: One number per task, by name or in task order; equal by default.
        ideal: The ideal losses z: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If the preference is negative, infinite, NaN or all zero, or, once the tasks are
            known, if preference or ideal do not match them.

    Reference:
        Miettinen, *Nonlinear Multiobjective Optimization* (1998), section 3.4.
    """

    def __init__(
        self,
        preference: Annotated[PerTask | None, Ratios()] = None,
        ideal: PerTask = 0.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
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
        takes_part = present & (tf.constant(self.preferred) > 0.0)
        above = tf.constant(self.preferred) * (task_losses - tf.constant(self.lowest))
        above = tf.where(takes_part, above, tf.float32.min)
        worst = tf.cast(takes_part & (above >= tf.reduce_max(above)), tf.float32)
        return tf.math.divide_no_nan(worst, tf.reduce_sum(worst))
