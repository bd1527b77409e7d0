"""Losses that the workloads train on and Keras does not have."""

from collections.abc import Callable
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
        classes = y_pred.shape[-1]
        labels = tf.reshape(tf.cast(y_true, tf.int32), (-1,))
        values = _smoothed(tf.reshape(y_pred, (-1, classes)), labels, self.smoothing)
        return tf.reshape(values, tf.shape(y_pred)[:-1])

    def get_config(self) -> dict[str, Any]:
        return {"smoothing": self.smoothing, "name": self.name}


def _smoothed(logits: tf.Tensor, labels: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Returns the losses `(N,)` of logits `(N, classes)`.

    Written out with its gradient: over thousands of classes every pass counts, and this makes
    fewer than `sparse_softmax_cross_entropy_with_logits` and what smoothing adds to it.
    """
    kept = 1.0 - smoothing
    classes = logits.shape[-1]
    places = tf.stack([tf.range(tf.size(labels)), labels], axis=1)

    @tf.custom_gradient
    def losses(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        # log sum exp z - (1 - s) z_y - s mean(z), with z less its maximum.
        shifted = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
        powers = tf.exp(shifted)
        total = tf.reduce_sum(powers, axis=-1)
        of_label = tf.gather_nd(shifted, places)
        values = tf.math.log(total) - kept * of_label - smoothing * tf.reduce_mean(shifted, axis=-1)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # softmax(z) - (1 - s) [label] - s / classes
            even = (smoothing / classes) * upstream[:, None]
            whole = powers * (upstream / total)[:, None] - even
            return tf.tensor_scatter_nd_sub(whole, places, kept * upstream)

        return values, gradient

    return losses(logits)
