"""Auto-Lambda: training loss weights learned to lower the losses on held-out examples."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.adam import TaskAdam
from mtk.combiners.parts import PartsCombiner, over_parts
from mtk.combiners.simplex_weights import SimplexWeights
from mtk.per_task import PerTask
from mtk.ranges import check_nonnegative
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class AutoLambda(PartsCombiner):
    """Weighs a task by how much a step on its loss would lower the losses of held-out examples.

    One half of the batch is for training, the other for validation. After a small step on the
    weighted training losses, the derivative of the primary tasks' summed validation losses with
    respect to weight i is minus the step size times `g_i . v`, where g_i is the task's gradient on
    the first half and v the gradient of that sum on the second. Adam updates the weights by this
    derivative, and the network descends the losses weighted by them.

    **Each batch is divided into two parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 2 * K gradients, of half of the batch each. No second derivative is needed.

    Departures from the paper and its code:

    * The validation gradient is taken before the small step instead of after it. The difference is
      of second order in the step size; two forward passes and a backward pass are saved. The
      products are exact; the paper's are differences of losses.
    * Products are over shared variables only, since only its own task reaches a head.
    * They are divided by the largest of them, so that scaled gradients scale the result.
    * Weights are nonnegative and divided by their sum: the mean scale. Before the division they
      start at one; in the paper at 0.1 with a learning rate of 1e-4, which is the same ratio.
    * The network descends the losses of the whole batch, not of the training half.

    Permuting the tasks permutes the weights. The result may conflict with a gradient. Heads are
    scaled by the weights. The state is 4 * K numbers.

    Args:
        learning_rate: Adam's learning rate for the weights.
        primary: One number per task, by name or in task order: the weight of its loss in the
            validation loss. Zero marks an auxiliary task, which only serves the others. Equal by
            default.

    Raises:
        ValueError: If the learning rate is negative or not finite, the numbers of `primary`
            negative, infinite, NaN or all zero, or, once the tasks are known, if they do not match
            them.

    Reference:
        Liu et al., *Auto-Lambda: Disentangling Dynamic Task Relationships* (2022), equations 4
        to 6.
    """

    batch_parts = 2
    weighs_heads = True

    def __init__(
        self,
        learning_rate: float = 1e-3,
        primary: Annotated[PerTask | None, Ratios()] = None,
        name: str | None = None,
    ):
        check_nonnegative(learning_rate=learning_rate)
        super().__init__(name=name)
        self.learning_rate = learning_rate
        self.primary = preferences.checked(primary, "primary")

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.of_primary = preferences.in_order(self.primary, self.task_names, num_tasks, "primary")
        self.task_shares = SimplexWeights(self)
        self.adam = TaskAdam(self, self.learning_rate)

    def part_weights(
        self, products: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        slope = -tf.linalg.matvec(products[0, :, 1, :], tf.constant(self.of_primary, tf.float32))
        slope = tf.math.divide_no_nan(slope, tf.reduce_max(tf.abs(slope)))
        relative = self.task_shares.relative
        change = self.adam.change(slope, present[0] & tf.reduce_any(present[1]))
        relative.assign(tf.maximum(relative + change, 0.0))
        return over_parts(self.task_shares.of(tf.reduce_any(present, 0)), present)
