"""Cross-stitch units: each task's features are a learned mixture of all tasks' features."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mtk.models.sharing.gates import check_readers, checked_names


@keras.saving.register_keras_serializable("mtk")
class CrossStitch(layers.Layer):
    """Mixes the features of the tasks' trunks: task k gets `Σ_j A_kj x_j`.

    The unit is placed between the layers of K trunks of the same form. Each row of A is a variable:
    in the last unit row k belongs to task k, in earlier ones all rows are shared.

    Args:
        task_names: Names of the K tasks.
        same: Initial `A_kk`; the rest up to 1 is split among the other tasks.
        per_channel: Whether each channel has its own A.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        inputs: `{task: (B, ..., channels)}`, all of the same shape.

    Returns:
        `{task: (B, ..., channels)}`.

    Raises:
        ValueError: If `same` is not between 0 and 1, or inputs are not those of the tasks or differ
            in shape.

    Reference:
        Misra et al., *Cross-stitch networks for multi-task learning* (2016),
        https://arxiv.org/abs/1604.03539, equation 1.
    """

    def __init__(
        self,
        task_names: Sequence[str],
        same: float = 0.9,
        per_channel: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.task_names = checked_names(task_names)
        if not 0 <= same <= 1:
            raise ValueError(f"`same` must be between 0 and 1. Received: same={same}")
        self.same, self.per_channel = same, per_channel

    def build(self, input_shape: dict[str, Any]) -> None:
        check_readers(self, input_shape, self.task_names)
        if len({tuple(shape) for shape in input_shape.values()}) > 1:
            raise ValueError(
                f"The features that '{self.name}' adds must have the same shape. Received: "
                f"{input_shape}"
            )
        number = len(self.task_names)
        channels = input_shape[self.task_names[0]][-1] if self.per_channel else 1
        rest = (1.0 - self.same) / max(number - 1, 1)
        self.rows = {}
        for k, task in enumerate(self.task_names):
            row = [[self.same if j == k else rest] * channels for j in range(number)]
            self.rows[task] = self.add_weight(
                shape=(number, channels),
                initializer=lambda shape, dtype, row=row: tf.constant(row, dtype, shape),
                name=f"{task}_row",
            )

    def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        check_readers(self, inputs, self.task_names)
        features = tf.stack([inputs[task] for task in self.task_names], axis=-2)
        return {
            task: tf.reduce_sum(features * tf.cast(row, features.dtype), axis=-2)
            for task, row in self.rows.items()
        }

    def get_config(self) -> dict[str, Any]:
        own = {"task_names": list(self.task_names), "same": self.same}
        return {**super().get_config(), **own, "per_channel": self.per_channel}
