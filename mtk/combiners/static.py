"""Static weights: scalarization, the baseline that every method has to beat."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import keras
import numpy as np
import tensorflow as tf

from mtk.combiners.base import LossCombiner
from mtk.combiners.per_task import PerTask, in_task_order, plain
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class StaticWeights(LossCombiner):
    """Minimizes a fixed weighted average of the task losses.

    `L = sum_i w_i L_i`, with the weights normalized to a sum of one. Over the tasks that a batch
    holds the weights are normalized again.

    Args:
        weights: The K weights, as an array or other sequence in the order of the tasks, or as a
            dict by task name; none negative, at least one positive. Equal ones by default.

    Raises:
        ValueError: If a weight is negative or not finite, if all are zero, or, when the tasks are
            known, if the weights do not match them.

    Reference:
        Boyd & Vandenberghe, *Convex Optimization* (2004), section 4.7.4.
    """

    loss_independent = True
    is_static = True

    def __init__(
        self, weights: Annotated[PerTask | None, Ratios()] = None, name: str | None = None
    ):
        super().__init__(name=name)
        given = 1.0 if weights is None else plain("weights", weights)
        values = list(given.values()) if isinstance(given, dict) else np.atleast_1d(given).tolist()
        if not all(0 <= value < float("inf") for value in values) or sum(values) <= 0:
            raise ValueError(
                "Static weights are finite numbers, none negative and not all zero. "
                f"Received: {weights}"
            )
        self._weights_by_task = given

    @property
    def weights_by_task(self) -> float | Sequence[float] | Mapping[str, float]:
        """The weights as they were given."""
        return self._weights_by_task

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        weights = in_task_order("weights", self.weights_by_task, self.task_names, num_tasks)
        self.normalized = [weight / sum(weights) for weight in weights]

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del task_losses, counts
        weights = tf.constant(self.normalized) * tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights_by_task}
