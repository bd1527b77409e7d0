"""Metrics that the workloads report and Keras does not have."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("mtk")
class SparseCategoricalError(keras.metrics.SparseCategoricalAccuracy):
    """Share of wrong predictions, in percent.

    Args:
        name: Name of the metric.

    Call arguments:
        y_true: Integer labels `(B, ...)`.
        y_pred: Scores `(B, ..., classes)`.
        sample_weight: Optional weights `(B, ...)`; zero leaves an element out.
    """

    def __init__(self, name: str = "error"):
        super().__init__(name=name)

    def result(self) -> tf.Tensor:
        # Without a single label there is nothing to be wrong about: zero, like Keras' means.
        accuracy = super().result()
        return 100.0 * tf.where(self.count > 0, 1.0 - accuracy, 0.0)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}
