"""What a task is: a name, a loss and metrics over its own labels."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

Loss: TypeAlias = str | keras.losses.Loss | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Metric: TypeAlias = str | keras.metrics.Metric

# "accuracy" means another metric for each loss, as in Keras.
_ACCURACIES = {
    "SparseCategoricalCrossentropy": keras.metrics.SparseCategoricalAccuracy,
    "CategoricalCrossentropy": keras.metrics.CategoricalAccuracy,
    "BinaryCrossentropy": keras.metrics.BinaryAccuracy,
}


class Elements(NamedTuple):
    """A task's loss before any reduction.

    Attributes:
        values: Tensor `(B, ...)`: the loss of each example, token or pixel.
        weights: Tensor of the same shape: zero where the label is missing.
        labels: The labels with a harmless zero in the place of the missing ones.
    """

    values: tf.Tensor
    weights: tf.Tensor
    labels: tf.Tensor


@keras.saving.register_keras_serializable("mtk")
class Task:
    """One task of a multi-task model.

    The task's loss on a batch is the mean over its labelled elements (examples, tokens or
    pixels). A label is missing where the batch's mask is zero, or where it equals `missing`.

    Args:
        name: Names the task's output, labels, curves and logs.
        loss: As in Keras: a name, a `keras.losses.Loss`, or a function of `(y_true, y_pred)` that
            returns one value per example (or per token, per pixel).
        metrics: Metric names or `keras.metrics.Metric` objects. `"accuracy"` is resolved by the
            loss, as in Keras.
        missing: Label value that says "no label here"; may be `float("nan")`.

    Raises:
        ValueError: If the name is empty, contains `/` or starts with `val_`, or the loss or a
            metric is unknown.

    Example:
    >>> task = Task("left", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> [metric.name for metric in task.metrics]
    ['accuracy']
    """

    def __init__(
        self, name: str, loss: Loss, metrics: Sequence[Metric] = (), missing: float | None = None
    ):
        if not name or "/" in name or name.startswith("val_"):
            raise ValueError(
                "A task's name is a non-empty string without '/' that does not start with 'val_', "
                f"Keras' mark of validation. Received: {name!r}"
            )
        if isinstance(metrics, str):
            raise ValueError(f"`metrics` of task '{name}' is a list. Received: {metrics!r}")
        self.name = name
        self.loss = _get(keras.losses, loss, f"loss of task '{name}'")
        self.metrics = [self._resolve(metric) for metric in metrics]
        self.missing = missing

    def _resolve(self, metric: Metric) -> keras.metrics.Metric:
        if metric not in ("accuracy", "acc"):
            found = _get(keras.metrics, metric, f"metric of task '{self.name}'")
            if isinstance(found, keras.metrics.Metric):
                return found
            return keras.metrics.MeanMetricWrapper(found, name=found.__name__)
        name = getattr(self.loss, "__name__", type(self.loss).__name__)
        title = "".join(part.capitalize() for part in name.split("_")) if "_" in name else name
        if title not in _ACCURACIES:
            raise ValueError(
                f"'accuracy' is not defined for the loss of task '{self.name}' ({name}). "
                "Name a metric, such as 'sparse_categorical_accuracy'."
            )
        config = self.loss.get_config() if isinstance(self.loss, keras.losses.Loss) else {}
        if title == "BinaryCrossentropy" and config.get("from_logits"):
            return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
        return _ACCURACIES[title](name="accuracy")

    def elements(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, mask: tf.Tensor | None = None
    ) -> Elements:
        """Returns the unreduced loss.

        Args:
            y_true: Labels, `(B, ...)`.
            y_pred: Predictions, `(B, ...)`.
            mask: One (or a weight) where there is a label, zero where there is none: `(B,)`, or
                one value per element. All labelled, by default.
        """
        y_true, y_pred = tf.convert_to_tensor(y_true), tf.convert_to_tensor(y_pred)
        labelled = self._labelled(y_true, mask)
        if labelled is not None:
            # The loss of a missing label may be NaN, and NaN times zero is NaN: mend the label.
            y_true = tf.where(_match(labelled, y_true) > 0, y_true, tf.zeros_like(y_true))
        values = self._values(y_true, y_pred)
        if values.shape.rank == 0:
            raise ValueError(
                f"The loss of task '{self.name}' returned a single number. Return one value per "
                "example (no reduction), so that missing labels can be left out."
            )
        shape = _shape(values, y_true)
        if labelled is None:
            return Elements(values, tf.ones(shape), y_true)
        weights = tf.broadcast_to(_match(labelled, values), shape)
        return Elements(values, tf.cast(weights, tf.float32), y_true)

    def _values(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Calls the loss as Keras does: on floats, and for functions on equal ranks."""
        y_pred = _in_full_precision(y_pred)
        y_true = y_true if y_true.dtype.is_floating else tf.cast(y_true, tf.float32)
        if isinstance(self.loss, keras.losses.Loss):
            return tf.cast(self.loss.call(y_true, y_pred), tf.float32)
        return tf.cast(self.loss(*_same_rank(y_true, y_pred)), tf.float32)

    def _labelled(self, y_true: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor | None:
        """Returns weights of y's leading shape, or None if every label counts."""
        weights = None if mask is None else tf.cast(mask, tf.float32)
        if self.missing is None:
            return weights
        if math.isnan(self.missing):
            if not y_true.dtype.is_floating:
                return weights
            found = tf.cast(~tf.math.is_nan(y_true), tf.float32)
        else:
            found = tf.cast(tf.not_equal(y_true, tf.cast(self.missing, y_true.dtype)), tf.float32)
        return found if weights is None else found * _match(weights, found)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "loss": keras.saving.serialize_keras_object(self.loss),
            "metrics": [keras.saving.serialize_keras_object(metric) for metric in self.metrics],
            "missing": self.missing,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        restore = keras.saving.deserialize_keras_object
        metrics = [restore(metric) for metric in config["metrics"]]
        return cls(**{**config, "loss": restore(config["loss"]), "metrics": metrics})


def check_tasks(tasks: Sequence[Task]) -> list[Task]:
    """Returns the tasks as a list, or raises a ValueError if there are none or two share a name."""
    tasks = list(tasks)
    names = [task.name for task in tasks]
    if not tasks:
        raise ValueError("A multi-task model needs at least one task. Received an empty list.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Each task needs a name of its own. Given more than once: {twice}")
    return tasks


def _get(module: Any, identifier: Any, what: str) -> Any:
    try:
        found = module.get(identifier)
    except ValueError as error:
        raise ValueError(f"Unknown {what}: {identifier!r}. {error}") from error
    if found is None:
        raise ValueError(f"The {what} is missing. Name one, such as 'mean_squared_error'.")
    return found


def _shape(values: tf.Tensor, y_true: tf.Tensor) -> list[int | tf.Tensor]:
    """Returns the shape of the loss, of which it is known where it can be without a prediction.

    So what is labelled in a batch can be counted before the network has run.
    """
    of_labels, of_values = tf.shape(y_true), tf.shape(values)
    unknown = [size is None for size in y_true.shape.as_list()]
    return [
        size
        if size is not None
        else of_labels[d]
        if d < len(unknown) and unknown[d]
        else of_values[d]
        for d, size in enumerate(values.shape.as_list())
    ]


def _match(mask: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Gives `mask` the rank of `target`, by new last axes or by dropping last axes of size one."""
    while mask.shape.rank > target.shape.rank:
        if mask.shape[-1] != 1:
            mask = tf.reduce_min(tf.cast(mask, tf.float32), axis=-1, keepdims=True)
        mask = tf.squeeze(mask, axis=-1)
    while mask.shape.rank < target.shape.rank:
        mask = mask[..., None]
    return mask


def _same_rank(y_true: tf.Tensor, y_pred: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Adds or drops a last axis of size one, so that `(B,)` and `(B, 1)` do not broadcast."""
    if y_true.shape.rank == y_pred.shape.rank - 1 and y_pred.shape[-1] == 1:
        return y_true[..., None], y_pred
    if y_pred.shape.rank == y_true.shape.rank - 1 and y_true.shape[-1] == 1:
        return y_true, y_pred[..., None]
    return y_true, y_pred


def _in_full_precision(y_pred: tf.Tensor) -> tf.Tensor:
    return tf.cast(y_pred, tf.float32) if y_pred.dtype in (tf.float16, tf.bfloat16) else y_pred
