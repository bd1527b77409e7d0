"""Losses that are not in Keras."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.elements import loss_values
from mtk.ranges import check_constant, check_rate


@keras.saving.register_keras_serializable("mtk")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits against integer labels, with label smoothing.

    The label gets a probability of `1 - smoothing`, and `smoothing` is spread evenly over all
    classes, including the label. Keras smooths only one-hot labels, an array of the size of the
    logits.

    Args:
        smoothing: Amount of smoothing, in [0, 1).
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
        check_rate(smoothing=smoothing)
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

    Has a custom gradient: with thousands of classes every pass over the logits matters, and this
    makes fewer than `sparse_softmax_cross_entropy_with_logits` plus the smoothing term.
    """
    kept = 1.0 - smoothing
    classes = logits.shape[-1]
    places = tf.stack([tf.range(tf.size(labels)), labels], axis=1)

    @tf.custom_gradient
    def losses(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        # log sum exp z - (1 - s) z_y - s mean(z), with the maximum subtracted from z.
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


@keras.saving.register_keras_serializable("mtk")
class WeightedSum(keras.losses.Loss):
    """A weighted sum of several losses of one output.

    Args:
        losses: Two losses or more: names, `keras.losses.Loss` objects, or functions of
            `(y_true, y_pred)` that return one value per example.
        weights: One factor per loss; one by default.
        name: Name of the loss.

    Call arguments:
        y_true: Labels `(B, ...)`.
        y_pred: Predictions `(B, ...)`.

    Raises:
        ValueError: If there are no losses, one is unknown, their reductions differ, or the weights
            are not one finite, nonnegative number per loss.

    Example:
    >>> loss = WeightedSum(["mean_squared_error", "mean_absolute_error"], [1.0, 0.5])
    >>> float(loss([[0.0]], [[2.0]]))
    5.0
    """

    def __init__(
        self,
        losses: Sequence[Any],
        weights: Sequence[float] | None = None,
        name: str = "weighted_sum",
    ):
        check_constant("weights", weights)
        found = [keras.losses.get(loss) for loss in losses]
        reductions = {getattr(loss, "reduction", "sum_over_batch_size") for loss in found}
        if None in found or len(reductions) != 1:
            raise ValueError(
                "`losses` must be one or more losses (none of them None) with the same "
                f"reduction. Received: {list(losses)}"
            )
        factors = [1.0] * len(found) if weights is None else [float(weight) for weight in weights]
        if len(factors) != len(found) or not all(0 <= x < float("inf") for x in factors):
            raise ValueError(
                "`weights` must have one finite, non-negative number for each of the "
                f"{len(found)} losses. Received: {weights}"
            )
        super().__init__(name=name, reduction=reductions.pop())
        self.losses, self.weights = found, factors

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        each = zip(self.losses, self.weights, strict=True)
        return tf.add_n([weight * loss_values(loss, y_true, y_pred) for loss, weight in each])

    def get_config(self) -> dict[str, Any]:
        losses = [keras.saving.serialize_keras_object(loss) for loss in self.losses]
        return {"losses": losses, "weights": self.weights, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "WeightedSum":
        restore = keras.saving.deserialize_keras_object
        return cls(**{**config, "losses": [restore(loss) for loss in config["losses"]]})
