"""Metrics of the workloads that are not in Keras.

The class attribute `direction` tells whether lower ("min") or higher ("max") is better.
"""

import abc
from typing import Any

import keras
import tensorflow as tf

from mtk.elements import of_rank


class MeanOverLabels(keras.metrics.Mean):
    """The mean over all labels, with equal weight for each.

    Keras first takes the mean within an example, including its padding, so that a token counts less
    in a batch with longer rows, and the mean depends on the batch size.
    """

    def update_mean(self, values: tf.Tensor, sample_weight: tf.Tensor | None) -> None:
        """Adds values of labels `(B, ...)`, with weights per label or per example."""
        if sample_weight is not None:
            each = of_rank(tf.cast(sample_weight, tf.float32), values)
            sample_weight = tf.reshape(tf.broadcast_to(each, tf.shape(values)), [-1])
        keras.metrics.Mean.update_state(self, tf.reshape(values, [-1]), sample_weight)


@keras.saving.register_keras_serializable("mtk")
class SparseCategoricalError(MeanOverLabels):
    """Percentage of wrong predictions.

    Zero without any label, like Keras' means. Not derived from Keras' accuracy, which makes several
    passes over the scores to handle the sign of zeros.

    Args:
        name: Name of the metric.

    Call arguments:
        y_true: Integer labels `(B, ...)`.
        y_pred: Scores `(B, ..., classes)`.
        sample_weight: Optional weights `(B, ...)`; zero excludes an element.
    """

    direction = "min"

    def __init__(self, name: str = "error"):
        super().__init__(name=name)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        found = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        wrong = tf.cast(tf.cast(y_true, tf.int32) != found, tf.float32)
        self.update_mean(100.0 * wrong, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


@keras.saving.register_keras_serializable("mtk")
class SparseCrossEntropy(MeanOverLabels):
    """Mean cross-entropy of logits against integer labels, in nats.

    Args:
        name: Name of the metric.

    Call arguments:
        y_true: Integer labels `(B, ...)`.
        y_pred: Logits `(B, ..., classes)`.
        sample_weight: Optional weights `(B, ...)`; zero excludes an element.
    """

    direction = "min"

    def __init__(self, name: str = "cross_entropy"):
        super().__init__(name=name)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        labels = tf.cast(y_true, tf.int32)
        of_label = tf.gather(y_pred, labels, batch_dims=labels.shape.rank)
        self.update_mean(tf.reduce_logsumexp(y_pred, axis=-1) - of_label, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class ConfusionMetric(keras.metrics.Metric, abc.ABC):
    """Base class of metrics computed from the confusion matrix.

    Not Keras' `MeanIoU`, which counts in integers: it warns about the mask of labels as weights,
    and would truncate fractional ones.

    Args:
        num_classes: Number of classes C.
        name: Name of the metric.

    Call arguments:
        y_true: Integer labels `(B, ...)`.
        y_pred: Scores `(B, ..., C)`.
        sample_weight: Optional weights `(B, ...)`; zero excludes an element.
    """

    def __init__(self, num_classes: int, name: str):
        super().__init__(name=name)
        self.num_classes = num_classes
        # Rows are the true classes, columns the predicted ones.
        self.matrix = self.add_variable((num_classes, num_classes), "zeros", name="confusion")

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        true = tf.cast(y_true, tf.int32)
        cells = true * self.num_classes + tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        if sample_weight is None:
            sample_weight = tf.ones_like(cells)
        weights = tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
        counts = tf.math.unsorted_segment_sum(
            weights, tf.reshape(cells, [-1]), self.num_classes * self.num_classes
        )
        self.matrix.assign_add(tf.reshape(counts, self.matrix.shape))

    def get_config(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes, "name": self.name}


@keras.saving.register_keras_serializable("mtk")
class MeanIoU(ConfusionMetric):
    """Mean over the classes of the intersection over union.

    A class that occurs neither in the labels nor in the predictions is left out of the mean. Zero
    if nothing is labelled. Arguments as in `ConfusionMetric`.
    """

    direction, unit = "max", "share"

    def __init__(self, num_classes: int, name: str = "miou"):
        super().__init__(num_classes, name)

    def result(self) -> tf.Tensor:
        matrix = tf.convert_to_tensor(self.matrix)
        both = tf.linalg.diag_part(matrix)
        either = tf.reduce_sum(matrix, axis=0) + tf.reduce_sum(matrix, axis=1) - both
        found = tf.cast(either > 0, tf.float32)
        total = tf.reduce_sum(tf.math.divide_no_nan(both, either))
        return tf.math.divide_no_nan(total, tf.reduce_sum(found))


@keras.saving.register_keras_serializable("mtk")
class PixelAccuracy(ConfusionMetric):
    """Fraction of the labelled pixels with the right class; zero if none is labelled.

    Arguments as in `ConfusionMetric`.
    """

    direction, unit = "max", "share"

    def __init__(self, num_classes: int, name: str = "pixel_accuracy"):
        super().__init__(num_classes, name)

    def result(self) -> tf.Tensor:
        matrix = tf.convert_to_tensor(self.matrix)
        return tf.math.divide_no_nan(tf.linalg.trace(matrix), tf.reduce_sum(matrix))


@keras.saving.register_keras_serializable("mtk")
class RelativeError(MeanOverLabels):
    """Mean of the absolute errors, each divided by the absolute true value.

    The error is undefined where the true value is zero: give such elements weight zero.

    Args:
        name: Name of the metric.

    Call arguments:
        y_true: Values `(B, ..., D)`.
        y_pred: Predictions of the same shape.
        sample_weight: Optional weights `(B, ...)`; zero excludes an element.
    """

    direction = "min"

    def __init__(self, name: str = "relative_error"):
        super().__init__(name=name)

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        self.update_mean(_relative_errors(y_true, y_pred), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def _relative_errors(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    y_true, y_pred = tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32)
    errors = tf.math.divide_no_nan(tf.abs(y_true - y_pred), tf.abs(y_true))
    return tf.reduce_mean(errors, axis=-1)
