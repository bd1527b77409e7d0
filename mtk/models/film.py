"""FiLM: scale and shift of features, as the task weights say."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from mtk.models.seeds import layer_seeds


@keras.saving.register_keras_serializable("mtk")
class FiLM(layers.Layer):
    """Scales and shifts each feature by what a small network makes of the task weights.

    The network has one hidden layer with ReLU. Its last kernel starts with zeros: at first the
    layer changes nothing.

    Args:
        hidden: Units of the hidden layer.
        seed: Of its initial weights.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        features: `(B, ..., C)`.
        task_weights: `(B, K)`, one row for each example.

    Returns:
        As `features`.

    Reference:
        Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer* (2018), equation 1.
    """

    def __init__(self, hidden: int = 64, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.hidden = hidden
        self.seed = seed

    def build(
        self,
        features_shape: Sequence[int | None],
        task_weights_shape: Sequence[int | None],
    ) -> None:
        if len(features_shape) < 2 or features_shape[-1] is None:
            raise ValueError(
                f"The layer '{self.name}' scales features `(B, ..., C)`, of a known number C. "
                f"Received: shape {tuple(features_shape)}"
            )
        initializer = keras.initializers.HeUniform(seed=next(layer_seeds(self.seed)))
        self.to_hidden = layers.Dense(
            self.hidden, "relu", kernel_initializer=initializer, dtype=self.dtype_policy
        )
        self.to_features = layers.Dense(
            2 * features_shape[-1], kernel_initializer="zeros", dtype=self.dtype_policy
        )
        self.to_hidden.build(task_weights_shape)
        self.to_features.build((task_weights_shape[0], self.hidden))

    def scale_and_shift(self, task_weights: Any) -> tuple[Any, Any]:
        """Returns what features are multiplied by and what is added then, each `(B, C)`.

        Args:
            task_weights: `(B, K)`.
        """
        change, shift = ops.split(self.to_features(self.to_hidden(task_weights)), 2, axis=-1)
        return 1.0 + change, shift

    def call(self, features: Any, task_weights: Any) -> Any:
        scale, shift = self.scale_and_shift(task_weights)
        ones = (1,) * (len(features.shape) - 2)
        shape = (-1, *ones, features.shape[-1])
        return features * ops.reshape(scale, shape) + ops.reshape(shift, shape)

    def compute_output_shape(
        self, features_shape: tuple[int | None, ...], task_weights_shape: Any
    ) -> tuple[int | None, ...]:
        del task_weights_shape
        return features_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden, "seed": self.seed}
