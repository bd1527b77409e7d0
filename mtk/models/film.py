"""FiLM: scale and shift of features, conditioned on the task weights."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from mtk.models.seeds import layer_seeds


@keras.saving.register_keras_serializable("mtk")
class FiLM(layers.Layer):
    """Scales and shifts each feature by the output of a small network on the task weights.

    The network has one hidden layer with ReLU. Its last kernel is initialized with zeros, so that
    the layer is initially the identity.

    Args:
        hidden: Number of units of the hidden layer.
        seed: Seed of its initial weights.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        features: `(B, ..., C)`.
        task_weights: `(B, K)`, one row for each example.

    Returns:
        Same shape as `features`.

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
                f"The layer '{self.name}' needs features `(B, ..., C)` with a known number of "
                f"channels C. Received: shape {tuple(features_shape)}"
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
        """Returns the factors of the features and the terms added then, each `(B, C)`.

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
