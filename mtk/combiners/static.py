"""Static weights: scalarization, the baseline that every method has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.base import LossCombiner


@keras.saving.register_keras_serializable("mtk")
class StaticWeights(LossCombiner):
    """Minimizes a fixed weighted average of the task losses.

    `L = sum_i w_i L_i`, with the weights normalized to a sum of one. Over the tasks that a batch
    holds the weights are normalized again.

    Args:
        weights: The K weights, as a sequence in the order of the tasks or as a dict by task name;
            none negative, at least one positive. Equal ones by default.

    Reference:
        Boyd & Vandenberghe, *Convex Optimization* (2004), section 4.7.4.
    """

    def __init__(
        self, weights: Mapping[str, float] | Sequence[float] | None = None, name: str | None = None
    ):
        super().__init__(name=name)
        self.weights_by_task = weights
        values = list(weights.values() if isinstance(weights, Mapping) else weights or [1.0])
        if not all(0 <= value < float("inf") for value in values) or sum(values) <= 0:
            raise ValueError(
                "Static weights are finite numbers, none negative and not all zero. "
                f"Received: {weights}"
            )

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.normalized = self._in_task_order(num_tasks)

    def _in_task_order(self, num_tasks: int) -> list[float]:
        weights = self.weights_by_task
        if weights is None:
            return [1.0 / num_tasks] * num_tasks
        if isinstance(weights, Mapping):
            names = self.task_names or ()
            if set(names) != set(weights):
                raise ValueError(
                    f"Static weights are given for {sorted(weights)}, but the tasks are "
                    f"{sorted(names)}. Give one weight to each task."
                )
            weights = [weights[name] for name in names]
        if len(weights) != num_tasks:
            raise ValueError(
                f"{len(weights)} static weights were given for {num_tasks} tasks. "
                "Give one weight to each task."
            )
        return [float(weight) / float(sum(weights)) for weight in weights]

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del task_losses, counts
        weights = tf.constant(self.normalized) * tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights_by_task}
