"""Tasks: a name, a loss and metrics over the task's own labels."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Literal, TypeAlias, get_args

import keras
import tensorflow as tf

from mtk.display import suggestion
from mtk.elements import Elements, elements
from mtk.output_paths import Path

Loss: TypeAlias = str | keras.losses.Loss | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Metric: TypeAlias = str | keras.metrics.Metric | Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Normalize = Literal["labels", "weights", "sum"]

# Normalization by the `reduction` of a Keras loss; the task decides for others.
_REDUCTIONS: dict[str, Normalize] = {"mean_with_sample_weight": "weights", "sum": "sum"}
_OF_CLASSES = ("sparse", "categorical_generalized")  # Losses with integer labels.
_LABELS_OF_OTHER_SHAPES = ("ctc", "circle")
# "accuracy" means another metric for each loss, as in Keras.
_ACCURACIES = {
    "SparseCategoricalCrossentropy": keras.metrics.SparseCategoricalAccuracy,
    "CategoricalCrossentropy": keras.metrics.CategoricalAccuracy,
    "BinaryCrossentropy": keras.metrics.BinaryAccuracy,
}


@keras.saving.register_keras_serializable("mtk")
class Task:
    """One task of a multi-task model.

    The task's loss on a batch is the sum over its labelled elements (examples, tokens, pixels, or
    labels of one example) of sample weight times loss, divided by their number. A label is missing
    where the mask or sample weight is zero, where it equals `missing`, and where a loss'
    `ignore_class` or a Keras mask excludes it. If no weight is zero, this is Keras' mean.

    Args:
        name: Name of the task's output, labels, curves and logs.
        loss: As in Keras: a name, a `keras.losses.Loss`, or a function of `(y_true, y_pred)` that
            returns one value per example (or per token, per pixel).
        metrics: Names, functions of `(y_true, y_pred)`, or `keras.metrics.Metric` objects, which
            are used without a copy. They receive labelled elements only, without weights.
            `"accuracy"` is resolved by the loss. In the logs a metric has the given name, or that
            of the object, without the number that Keras appends to automatic names.
        missing: Label value that marks a missing label; may be `float("nan")`.
        weighted_metrics: As `metrics`, with the sample weights.
        normalize: Divisor of the weighted sum: `"labels"`, the number of labels; `"weights"`, the
            sum of their weights; or `"sum"`, none. By default given by the `reduction` of the loss,
            otherwise `"labels"`.
        class_weight: Training weights by class, `{0: 1.0, 1: 5.0}`, for integer or one-hot labels;
            one for other classes. As with Keras' `fit`, they multiply sample weights and do not
            affect evaluation.
        mask_zero: Whether a sample weight of zero marks a missing label. Otherwise only a boolean
            mask (or `missing`) does, and weights act as in Keras: an example of weight zero counts
            in the divisor and in `metrics`.

    Attributes:
        path: Keys and indices of this task's output, if the outputs are nested or a list of which
            only some are tasks; None for its position among the tasks.

    A label that exists only for some values of another task's label, such as a purchase after a
    click, needs a boolean mask: `fit(x, y, sample_weight={"buy": y["click"] == 1})`. Use
    `mtk.losses.WeightedSum` to add several losses of one task.

    Raises:
        ValueError: If the name is empty or starts with `val_`, the loss or a metric is unknown,
            `normalize` is not one of the three, or `class_weight` does not map classes to numbers.

    Example:
    >>> task = Task("left", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> [metric.name for metric in task.metrics]
    ['accuracy']
    """

    def __init__(
        self,
        name: str,
        loss: Loss,
        metrics: Sequence[Metric] = (),
        missing: float | None = None,
        weighted_metrics: Sequence[Metric] = (),
        normalize: Normalize | None = None,
        mask_zero: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ):
        if not isinstance(name, str) or not name or name.startswith("val_"):
            raise ValueError(
                "The name of a task must be a non-empty string that does not start with "
                f"'val_', Keras' prefix for validation. Received: {name!r}"
            )
        for what, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if isinstance(given, str):
                raise ValueError(f"`{what}` of task '{name}' must be a list. Received: {given!r}")
        if normalize not in (None, *get_args(Normalize)):
            raise ValueError(
                f"`normalize` of task '{name}' must be one of {get_args(Normalize)}, or None to "
                f"follow the reduction of the loss. Received: {normalize!r}"
            )
        if missing is not None and not isinstance(missing, Real):
            raise ValueError(
                f"`missing` of task '{name}' must be the number that marks a missing label, "
                f"such as -1 or float('nan'). Received: {missing!r}"
            )
        self.name = name
        self.loss = _get(keras.losses, loss, f"loss of task '{name}'")
        is_loss = isinstance(self.loss, keras.losses.Loss)
        if is_loss and type(self.loss).__call__ is not keras.losses.Loss.__call__:
            raise ValueError(
                f"The loss of task '{name}', {type(self.loss).__name__}, overrides `__call__`, "
                "which does the reduction. Override `call(y_true, y_pred)` instead, which returns "
                "one value per example."
            )
        self.given_metrics = list(metrics)
        self.given_weighted_metrics = list(weighted_metrics)
        self.metrics = self.make_metrics(metrics)
        self.weighted_metrics = self.make_metrics(weighted_metrics)
        self.missing = missing
        self.mask_zero = mask_zero
        self.class_weight = check_class_weight(name, class_weight)
        self.path: Path | None = None
        self._normalize = normalize

    @property
    def normalize(self) -> Normalize:
        """Divisor of the weighted sum of losses; see the class."""
        reduction = str(getattr(self.loss, "reduction", None))
        return self._normalize or _REDUCTIONS.get(reduction, "labels")

    def make_metrics(self, given: Sequence[Metric]) -> list[keras.metrics.Metric]:
        """Makes metric objects of names and functions; returns given objects unchanged.

        Args:
            given: `given_metrics` or `given_weighted_metrics`.
        """
        return [self._resolve(metric) for metric in given]

    def _resolve(self, metric: Metric) -> keras.metrics.Metric:
        if metric in ("accuracy", "acc"):
            return self._accuracy(metric)
        found = _get(keras.metrics, metric, f"metric of task '{self.name}'")
        if isinstance(found, type):
            found = found()
        if not isinstance(found, keras.metrics.Metric):
            name = getattr(found, "__name__", type(found).__name__)
            found = keras.metrics.MeanMetricWrapper(found, name=name.strip("<>"))
        if isinstance(metric, str):
            found.name = metric
        return found

    def _accuracy(self, name: str) -> keras.metrics.Metric:
        own = getattr(self.loss, "__name__", type(self.loss).__name__)
        title = "".join(part.capitalize() for part in own.split("_")) if "_" in own else own
        if title in _ACCURACIES:
            config = self.loss.get_config() if isinstance(self.loss, keras.losses.Loss) else {}
            if title == "BinaryCrossentropy" and config.get("from_logits"):
                return keras.metrics.BinaryAccuracy(name=name, threshold=0.0)
            return _ACCURACIES[title](name=name)
        if type(self.loss).__module__.startswith("keras.") or own in dir(keras.losses):
            raise ValueError(
                f"'accuracy' is not defined for the loss of task '{self.name}' ({own}). "
                "Name a metric, such as 'sparse_categorical_accuracy'."
            )
        return keras.metrics.MeanMetricWrapper(accuracy_by_shape, name=name)

    def elements(
        self,
        y_true: tf.Tensor,
        y_pred: tf.Tensor,
        mask: tf.Tensor | None = None,
        training: bool = False,
    ) -> Elements:
        """Returns the unreduced loss; see `mtk.elements.elements`.

        Args:
            y_true: Labels, `(B, ...)`.
            y_pred: Predictions, `(B, ...)`.
            mask: Zero where there is no label, the sample weight elsewhere: `(B,)`, or one value
                per element. All are labelled by default.
            training: Whether class weights apply.
        """
        of_classes = self.class_weight if training else None
        return elements(self.loss, y_true, y_pred, mask, self.missing, self.mask_zero, of_classes)

    @property
    def _loss_function(self) -> Any:
        return getattr(self.loss, "fn", self.loss)

    @property
    def has_keras_loss(self) -> bool:
        """Whether the loss is Keras' own; others may interpret labels differently."""
        return str(getattr(self._loss_function, "__module__", "")).startswith("keras.")

    def check_labels(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> None:
        """Raises a ValueError for labels that the loss would compare wrongly or not at all.

        Custom losses may take labels of any shape.

        Args:
            y_true: Labels, `(B, ...)`.
            y_pred: Predictions, `(B, ...)`.
        """
        if not isinstance(y_true, tf.Tensor):
            hints = {
                Mapping: f"Or give each part a loss: {{{self.name!r}: {{part: loss}}}}.",
                tf.RaggedTensor: "Pad ragged labels by `labels.to_tensor()`.",
                tf.SparseTensor: "Make sparse labels dense by `tf.sparse.to_dense(labels)`.",
            }
            hint = "".join(f" {text}" for kind, text in hints.items() if isinstance(y_true, kind))
            raise ValueError(
                f"The labels of task '{self.name}' must be one dense tensor. Received: "
                f"{type(y_true).__name__}. Put additional inputs of the loss into further columns, "
                f"and a mask into the sample weights.{hint}"
            )
        if y_true.dtype == tf.string:
            raise ValueError(
                f"The labels of task '{self.name}' are strings. Give numbers, such as those "
                "from `keras.layers.StringLookup`."
            )
        if y_true.dtype.is_complex:
            raise ValueError(
                f"The labels of task '{self.name}' are complex numbers. Give real numbers, such "
                "as the two parts as the labels of two outputs."
            )
        own = getattr(self._loss_function, "__name__", type(self._loss_function).__name__)
        known = y_true.shape.rank is not None and y_pred.shape.rank is not None
        if not (known and self.has_keras_loss) or own in _LABELS_OF_OTHER_SHAPES:
            return
        config = self.loss.get_config() if isinstance(self.loss, keras.losses.Loss) else {}
        if config.get("axis", -1) != -1:
            return
        is_sparse = own.startswith(_OF_CLASSES)
        labels, outputs = list(y_true.shape[1:]), list(y_pred.shape[1:]) or [1]
        # One number per prediction may have a last axis of size one, or none.
        single = is_sparse or outputs[-1] == 1
        fitting = [outputs[:-1], [*outputs[:-1], 1]] if single else [outputs]
        if not any(_alike(labels, shape) for shape in fitting):
            needed = "integers, one for each prediction" if is_sparse else "the output's shape"
            raise ValueError(
                f"The labels of task '{self.name}' have the shape {y_true.shape}, and its output "
                f"{y_pred.shape}: {own} needs {needed}."
            )

    def divisor(self, count: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Returns the divisor of the sum of the weighted losses; zero without labels.

        Args:
            count: Number of labels.
            weight: Sum of their weights.
        """
        if self.normalize == "weights":
            return weight
        return tf.minimum(count, 1.0) if self.normalize == "sum" else count

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "loss": serialize(self.loss),
            "metrics": [serialize(metric) for metric in self.given_metrics],
            "missing": self.missing,
            "weighted_metrics": [serialize(metric) for metric in self.given_weighted_metrics],
            "normalize": self._normalize,
            "mask_zero": self.mask_zero,
            "class_weight": self.class_weight,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        restore = keras.saving.deserialize_keras_object
        parts: dict[str, Any] = {"loss": restore(config["loss"])}
        for name in ("metrics", "weighted_metrics"):
            parts[name] = [restore(metric) for metric in config.get(name, ())]
        return cls(**{**config, **parts})


def check_class_weight(task: str, given: Mapping[Any, float] | None) -> dict[int, float] | None:
    """Returns the class weights of a task, or raises a ValueError if they are invalid.

    Args:
        task: Name of the task.
        given: `{class: weight}`; a class may be a string of digits, as in a file.
    """
    if given is None:
        return None
    try:
        found = {int(number): float(weight) for number, weight in dict(given).items()}
    except (TypeError, ValueError):
        found = {}
    fits = all(number >= 0 and 0 <= weight < math.inf for number, weight in found.items())
    if not found or not fits:
        raise ValueError(
            f"`class_weight` of task '{task}' must map classes (integers from 0) to finite, "
            f"non-negative weights, such as {{0: 1.0, 1: 5.0}}. Received: {given!r}"
        )
    return found


def check_tasks(tasks: Sequence[Task]) -> list[Task]:
    """Returns the tasks as a list, or raises a ValueError if there are none or two share a name."""
    wrong = [task for task in tasks if not isinstance(task, Task)]
    if wrong or isinstance(tasks, Mapping):
        raise ValueError(
            "`tasks` must be a list of mtk.Task(name, loss), or None if `compile` is given "
            f"losses. Received: {tasks!r}"
        )
    tasks = list(tasks)
    names = [task.name for task in tasks]
    if not tasks:
        raise ValueError("A multi-task model needs at least one task. Received an empty list.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"Task names must be unique. Given more than once: {twice}")
    return tasks


def check_files(tasks: Sequence[Task]) -> None:
    """Raises a ValueError for names with "/", since a run's files have keys `task/metric`.

    Args:
        tasks: The tasks.
    """
    if wrong := [task.name for task in tasks if "/" in task.name]:
        raise ValueError(
            "The files of a run use names of the form 'task/metric', so task names must not "
            f"contain '/'. Rename {wrong}; if outputs are nested, let the network return a flat "
            "dict, such as {'a_b': ...} instead of {'a': {'b': ...}}."
        )


def _alike(one: Sequence[int | None], two: Sequence[int | None]) -> bool:
    same = all(a is None or b is None or a == b for a, b in zip(one, two, strict=False))
    return same and len(one) == len(two)


def _get(module: Any, identifier: Any, what: str) -> Any:
    try:
        found = module.get(identifier)
    except ValueError as error:
        known = [name for name in dir(module) if not name.startswith("_")]
        hint = suggestion([str(identifier)], known) or f" {error}"
        raise ValueError(f"Unknown {what}: {identifier!r}.{hint}") from error
    if found is None:
        raise ValueError(f"The {what} is missing. Give one, such as 'mean_squared_error'.")
    return found


@keras.saving.register_keras_serializable("mtk")
def accuracy_by_shape(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Computes the accuracy that Keras chooses by the shapes of labels and predictions."""
    if y_pred.shape[-1] == 1:
        return keras.metrics.binary_accuracy(y_true, y_pred)
    if y_true.shape.rank < y_pred.shape.rank or y_true.shape[-1] == 1:
        return keras.metrics.sparse_categorical_accuracy(y_true, y_pred)
    return keras.metrics.categorical_accuracy(y_true, y_pred)


accuracy_by_shape.direction = "max"  # See `mtk.directions`.
accuracy_by_shape.unit = "share"


def automatic_name(metric: keras.metrics.Metric) -> str:
    """Returns a metric's name without the number that Keras appends ("auc_3")."""
    automatic = re.fullmatch(r"(.+?)_\d+", metric.name)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(metric).__name__)
    return automatic[1] if automatic and automatic[1] == words.lower() else metric.name
