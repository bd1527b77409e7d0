"""Losses that the workloads train on and Keras does not have."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("mtk")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits against integer labels, with label smoothing.

    The label has a probability of `1 - smoothing`, and `smoothing` is spread evenly over all
    classes, the label's own included. Keras smooths only labels that are one-hot, an array of the
    size of the logits.

    Args:
        smoothing: In [0, 1).
        name: Name of the loss.

    Call arguments:
        y_true: Integer labels `(B, ...)`.
        y_pred: Logits `(B, ..., classes)`.

    Raises:
        ValueError: If `smoothing` is out of range.

    Reference:
        Szegedy et al., *Rethinking the Inception architecture for computer vision* (2016),
        section 7.
    """

    def __init__(self, smoothing: float = 0.1, name: str = "smoothed_crossentropy"):
        if not 0 <= smoothing < 1:
            raise ValueError(f"`smoothing` is a share in [0, 1). Received: {smoothing}")
        super().__init__(name=name, reduction=None)
        self.smoothing = smoothing

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        labels = tf.cast(y_true, tf.int32)
        # log sum exp z - (1 - s) z_y - s mean(z)
        #     = cross-entropy + s (z_y - mean(z))
        values = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, y_pred)
        if not self.smoothing:
            return values
        of_label = tf.gather(y_pred, labels, batch_dims=labels.shape.rank)
        return values + self.smoothing * (of_label - tf.reduce_mean(y_pred, axis=-1))

    def get_config(self) -> dict[str, Any]:
        return {"smoothing": self.smoothing, "name": self.name}
