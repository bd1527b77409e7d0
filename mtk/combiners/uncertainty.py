"""Uncertainty weights: each task's noise is learned."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam, check_learning_rate
from mtk.combiners.base import LossCombiner


@keras.saving.register_keras_serializable("mtk")
class UncertaintyWeights(LossCombiner):
    """Weighs tasks by a learned log variance `s_i = log(sigma_i^2)`.

    Minimizes `sum_i c_i exp(-s_i) L_i + s_i / 2`, where c is 1 for classification and 1/2 for
    regression, over the network and over s. The network's part is divided by the number of tasks;
    so the mean scale holds at the start, s = 0, for classification, and nowhere later.

    The `s_i` take steps of Adam with their own learning rate. In the paper they are weights of the
    network, where weight decay would pull them to zero.

    Args:
        regression: Names of the tasks whose loss is a squared error.
        learning_rate: Length of the steps of s.

    Raises:
        ValueError: If the learning rate is negative or not finite, or, when the tasks are known, if
            a name in `regression` is no task's.

    Reference:
        Kendall et al., *Multi-Task Learning Using Uncertainty to Weigh Losses* (2018), equations 7
        and 10.
    """

    def __init__(
        self,
        regression: Sequence[str] = (),
        learning_rate: float = 0.025,
        name: str | None = None,
    ):
        check_learning_rate(learning_rate)
        super().__init__(name=name)
        self.regression = tuple(regression)
        self.learning_rate = learning_rate

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        names = self.task_names or ()
        if strangers := set(self.regression) - set(names):
            raise ValueError(
                f"`regression` names {sorted(strangers)}, but the tasks are {sorted(names)}. "
                "Name tasks of the model only."
            )
        halves = [0.5 if name in self.regression else 1.0 for name in names]
        self.coefficients = tuple(halves) or (1.0,) * num_tasks
        self.log_variances = self.add_state("log_variances", (num_tasks,))
        self.adam = TaskAdam(self, self.learning_rate)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        mask = tf.cast(present, tf.float32)
        precisions = tf.constant(self.coefficients) * tf.exp(-self.log_variances) * mask
        weights = tf.math.divide_no_nan(precisions, tf.reduce_sum(mask))
        slope = 0.5 - precisions * task_losses
        self.log_variances.assign_add(self.adam.change(slope, present))
        return weights

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "regression": list(self.regression),
            "learning_rate": self.learning_rate,
        }
