"""COSMOS: a weighted mean with a penalty on the angle between losses and preference."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.losses import LossCombiner
from mtk.combiners.solvers.scaling import solver_dtype
from mtk.per_task import PerTask
from mtk.ranges import check_nonnegative
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class COSMOS(LossCombiner):
    """Descends `r . L - lambda cos(u, L)`, for a preference r that sums to one.

    The weights are `r - lambda (u - cos(u, L) L / |L|) / |L|`: the mean scale where the losses
    point along u. Elsewhere the second term raises the loss of a task that is ahead, and a weight
    may be **negative**; it grows as losses fall. Head weights are clipped at zero, so that no head
    ascends its loss. A preference of zero excludes a task and its head.

    The authors take the cosine with r itself, which rewards a *larger* loss of a preferred task, in
    contradiction to the first term. Here u is proportional to `1 / r_i`, as the ray of `PBI`; for
    equal preferences, the default, this is the same. The authors also condition the network on r
    and draw r in each step; this class has one fixed preference. For random ones use `RLW` with a
    network of `mtk.models.conditioned`.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass (a second one through the heads), no state.

    Args:
        strength: Lambda. The authors use 0.01 to 8, and 2 on Multi-MNIST.
        preference: One number per task, by name or in task order; equal by default.

    Raises:
        ValueError: If the strength is negative or not finite, the preference negative, infinite,
            NaN or all zero, or, once the tasks are known, if the preference does not match them.

    Reference:
        Ruchte & Grabocka, *Scalable Pareto Front Approximation for Deep Multi-Objective Learning*
        (2021), equation 5; github.com/ruchtem/cosmos.
    """

    weighs_heads = False

    def __init__(
        self,
        strength: float = 2.0,
        preference: Annotated[PerTask | None, Ratios()] = None,
        name: str | None = None,
    ):
        check_nonnegative(strength=strength)
        super().__init__(name=name)
        self.strength = strength
        self.preference = preferences.checked(preference)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.preferred = preferences.in_order(self.preference, self.task_names, num_tasks)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        dtype = solver_dtype()
        takes_part, preference = preferences.of_present(self.preferred, present, dtype)
        losses = tf.cast(task_losses, dtype)
        losses = tf.where(takes_part, losses, tf.zeros_like(losses))
        ray = tf.math.reciprocal_no_nan(preference)
        ray = tf.math.divide_no_nan(ray, tf.norm(ray))
        size = tf.norm(losses)
        unit = tf.math.divide_no_nan(losses, size)
        slope = ray - tf.reduce_sum(ray * unit) * unit
        weights = tf.math.divide_no_nan(preference, tf.reduce_sum(preference))
        weights -= self.strength * tf.math.divide_no_nan(slope, size)
        return tf.cast(tf.where(takes_part, weights, tf.zeros_like(weights)), tf.float32)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return tf.where(present, tf.maximum(task_weights, 0.0), 0.0)
