"""FAMO: all losses fall at the same rate, at the price of one backward pass."""

from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam, check_learning_rate
from mtk.combiners.base import LossCombiner
from mtk.combiners.per_task import PerTask, in_task_order, plain

# Where a loss is at or below its bound, its distance from it counts as this.
CLOSEST = 1e-8


@keras.saving.register_keras_serializable("mtk")
class FAMO(LossCombiner):
    """Fast adaptive multitask optimization: weighs the logarithms of the losses.

    With `p = softmax(z)` the network descends `sum_i c p_i log(L_i - b_i)`, where c makes the
    weights `c p_i / (L_i - b_i)` of the losses sum to one. After the update the same batch is
    measured again (a second forward pass), and z takes a step of Adam toward the tasks whose
    `log(L - b)` fell least. Clipping is the trainer's, after the backward pass.

    Args:
        learning_rate: Length of the steps of z.
        decay: Pull of z toward zero (the paper's gamma), added to its gradient.
        bounds: Lower bounds b of the losses, which must lie above them: one for all, a sequence,
            or a dict by task name. A loss that reaches its bound counts as 1e-8 above it.

    Raises:
        ValueError: If the learning rate is negative or not finite, the decay negative, or, when the
            tasks are known, if the bounds do not match them.

    Reference:
        Liu et al., *FAMO: Fast Adaptive Multitask Optimization* (2023), algorithm 1.
    """

    needs_post_update_loss = True

    def __init__(
        self,
        learning_rate: float = 0.025,
        decay: float = 0.01,
        bounds: PerTask = 0.0,
        name: str | None = None,
    ):
        check_learning_rate(learning_rate)
        if not decay >= 0:
            raise ValueError(f"`decay` is a number of at least 0. Received: {decay}")
        super().__init__(name=name)
        self.learning_rate = learning_rate
        self.decay = decay
        self.bounds = plain("bounds", bounds)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.lowest = tuple(in_task_order("bounds", self.bounds, self.task_names, num_tasks))
        self.logits = self.add_state("logits", (num_tasks,))
        self.adam = TaskAdam(self, self.learning_rate)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        # In units of the smallest distance no quotient leaves the range of numbers.
        distances = self._distances(task_losses)
        unit = tf.reduce_min(tf.where(present, distances, distances.dtype.max))
        quotients = tf.where(present, unit / distances, 0.0)
        weights = self._preferences(present) * quotients
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        fall = tf.math.log(self._distances(before)) - tf.math.log(self._distances(after))
        fall = tf.where(present, fall, 0.0)
        preferences = self._preferences(present)
        # The derivative of sum_i p_i fall_i: z rises where a loss fell less than the average.
        slope = preferences * (fall - tf.reduce_sum(preferences * fall))
        slope += self.decay * self.logits
        self.logits.assign_add(self.adam.change(slope, present))

    def _preferences(self, present: tf.Tensor) -> tf.Tensor:
        logits = tf.where(present, self.logits, tf.float32.min)
        return tf.where(present, tf.nn.softmax(logits), 0.0)

    def _distances(self, task_losses: tf.Tensor) -> tf.Tensor:
        return tf.maximum(task_losses - tf.constant(self.lowest), CLOSEST)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "bounds": self.bounds,
        }
