"""The metrics of a model: every task's loss, metrics and weight, under the task's name."""

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.elements import TaskPass, is_for_each_label, of_rank
from mtk.finite import nan_unless
from mtk.held import Held
from mtk.replicas import all_reduce
from mtk.tasks import Task, automatic_name


class ScalarMean(keras.metrics.Mean):
    """The mean of scalars, with a fourth of the traced operations of Keras' mean."""

    def update_state(self, values: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        values = tf.cast(values, self.dtype)
        count = tf.ones_like(values) if sample_weight is None else sample_weight
        count = tf.cast(count, self.dtype)
        # A replica without examples has a mean of NaN, with weight zero.
        self.total.assign(self.total + tf.math.multiply_no_nan(values, count))
        self.count.assign(self.count + count)


class MeanLoss(keras.metrics.Metric):
    """The mean of the tasks' mean losses, over tasks with labels.

    NaN if no task had a label, for instance if every step was skipped, since zero would be the best
    possible loss. With weights it is Keras' loss: the weighted sum plus the losses of layers and
    regularizers.

    Args:
        losses: The tasks' loss metrics.
        weights: Their weights in the sum; None for the mean.
    """

    def __init__(
        self, losses: Sequence[keras.metrics.Mean], weights: Sequence[float] | None = None
    ):
        super().__init__(name="loss")
        self._losses, self.weights = Held(tuple(losses)), weights
        self.penalty = None if weights is None else ScalarMean(name="penalty")

    def update_state(self, penalty: tf.Tensor, examples: int | tf.Tensor) -> None:
        """Adds the losses of layers and regularizers; the tasks' losses are updated separately.

        Args:
            penalty: Scalar, for these examples.
            examples: Number of examples.
        """
        if self.penalty is not None:
            self.penalty.update_state(penalty, sample_weight=tf.cast(examples, tf.float32))

    def result(self) -> tf.Tensor:
        seen = tf.stack([tf.cast(loss.count > 0, self.dtype) for loss in self._losses.value])
        means = tf.stack([tf.cast(loss.result(), self.dtype) for loss in self._losses.value]) * seen
        if self.penalty is None:
            return tf.reduce_sum(means) / tf.reduce_sum(seen)
        total = tf.reduce_sum(means * tf.constant(self.weights, self.dtype))
        total += tf.cast(self.penalty.result(), self.dtype)
        return nan_unless(tf.reduce_any(seen > 0), total)


class TaskMetric(keras.metrics.Metric):
    """A metric of one task, logged under the task's name.

    If examples have several labels and some are missing, a metric of single labels, such as an
    error or an AUC, uses the present ones; a metric of all labels together, such as a categorical
    accuracy, uses complete examples. A test on random numbers determines the kind.

    Args:
        metric: The metric, used without a copy: a given object holds the state.
        prefix: Prefix of the names of its values in the logs.
        name: Its name without the prefix.
        weighted: Whether it receives sample weights, and not only the mask of labels.
    """

    def __init__(self, metric: keras.metrics.Metric, prefix: str, name: str, weighted: bool):
        super().__init__(name=f"{prefix}{name}")
        self.metric, self.prefix, self.weighted = metric, prefix, weighted

    def update_state(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> None:
        y_true, y_pred, sample_weight = self.seen(y_true, y_pred, sample_weight)
        if sample_weight is None:
            self.metric.update_state(y_true, y_pred)
        else:
            self.metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def seen(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Returns the labels, predictions and weights for the wrapped metric."""
        if sample_weight is None:
            return y_true, y_pred, None
        if not self.weighted:
            # Predictions made by an overridden `compute_metrics` have no `_labelled`.
            labelled = getattr(y_pred, "_labelled", sample_weight != 0)
            if labelled is None:
                return y_true, y_pred, None
            sample_weight = tf.cast(labelled, tf.float32)
        if is_for_each_label(sample_weight, y_true, y_pred):
            if self._takes_each_label(y_pred.shape):
                y_true, y_pred = y_true[..., None], y_pred[..., None]
            else:
                complete = tf.reduce_min(tf.cast(sample_weight != 0, tf.float32), axis=-1)
                sample_weight = tf.reduce_mean(sample_weight, axis=-1) * complete
        if isinstance(self.metric, keras.metrics.IoU):
            # Keras flattens these weights without broadcasting them to the labels.
            labels = y_true if self.metric.sparse_y_true else y_true[..., 0]
            sample_weight = tf.broadcast_to(of_rank(sample_weight, labels), tf.shape(labels))
        return y_true, y_pred, sample_weight

    def _takes_each_label(self, shape: tf.TensorShape) -> bool:
        """Whether the metric is the same for labels in the last axis and for single labels."""
        rng = np.random.default_rng(0)
        shape = [*[4] * (len(shape) - 1), shape[-1]]
        y, p = rng.integers(0, 2, shape), rng.uniform(0.1, 0.9, shape)
        with tf.init_scope(), warnings.catch_warnings(action="ignore"):
            y_true, y_pred = tf.constant(y, tf.float32), tf.constant(p, tf.float32)
            try:
                found = [self._of(y_true, y_pred), self._of(y_true[..., None], y_pred[..., None])]
            except (ValueError, TypeError, tf.errors.OpError):
                return False
        together, each = map(np.asarray, found)
        return together.shape == each.shape and bool(np.allclose(together, each, 1e-4, 1e-6))

    def _of(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns the metric's result on these alone, without changing its state."""
        with keras.StatelessScope():
            self.metric.reset_state()
            self.metric.update_state(y_true, y_pred)
            return self.metric.result()

    def result(self) -> Any:
        found = self.metric.result()
        if isinstance(found, Mapping):
            return {f"{self.prefix}{name}": value for name, value in found.items()}
        return found

    def reset_state(self) -> None:
        self.metric.reset_state()


class TaskMetrics:
    """Holds and updates the metrics of K tasks.

    Args:
        tasks: The K tasks.
        loss_weights: Weights of the tasks in the logged `loss`; None for their mean.
        prefixed: Whether metric names are prefixed with the task's, which Keras omits for one
            output.

    Raises:
        ValueError: If two metrics have the same name, or an object given to several tasks cannot be
            copied.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        loss_weights: Sequence[float] | None = None,
        prefixed: bool = True,
    ):
        self.losses = [ScalarMean(name=f"{task.name}_loss") for task in tasks]
        used: set[int] = set()
        self.by_task = {task.name: _named(task, used, prefixed) for task in tasks}
        self.weights = [ScalarMean(name=f"{task.name}_weight") for task in tasks]
        self.mean = MeanLoss(self.losses, loss_weights)
        names = [metric.name for metric in self.of_training()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Two metrics would be logged under the same name: {twice}. Rename a task or a "
                "metric."
            )

    @property
    def build_late(self) -> bool:
        """Whether a metric may make variables when it sees the first labels.

        Of Keras' metrics those do that say they are not built; others do not say it.
        """
        each = [metric.metric for metrics in self.by_task.values() for metric in metrics]
        return any(
            not type(metric).__module__.startswith("keras.") or not getattr(metric, "_built", True)
            for metric in each
        )

    def of_evaluation(self) -> list[keras.metrics.Metric]:
        """Returns the metrics common to training and evaluation, in Keras' order."""
        each = [metric for metrics in self.by_task.values() for metric in metrics]
        if len(self.losses) > 1:
            each.sort(key=lambda metric: metric.name)
        return [self.mean, *self.losses, *each]

    def of_training(self) -> list[keras.metrics.Metric]:
        """Returns the metrics of evaluation and the task weights."""
        return [*self.of_evaluation(), *self.weights]

    def update_losses(
        self, tasks: Sequence[Task], passed: Sequence[TaskPass], whole: Sequence[TaskPass]
    ) -> None:
        """Updates the loss metrics with a forward pass.

        Args:
            tasks: The K tasks.
            passed: Result of the pass for each task.
            whole: Counts and weights of each task's labels in the batch, of which these examples
                may be a part.
        """
        for loss, task, found, batch in zip(self.losses, tasks, passed, whole, strict=True):
            divisor = task.divisor(batch.count, batch.weight)
            # In Keras a batch is weighted by its examples, whatever the divisor of its loss.
            counted = batch.count if self.mean.weights is not None else divisor
            share = tf.math.divide_no_nan(found.count, batch.count)
            mean = tf.math.divide_no_nan(found.total, divisor * share)
            loss.update_state(mean, sample_weight=counted * share)

    def update(
        self, y: Mapping[str, Any], y_pred: Mapping[str, Any], weights: Mapping[str, Any]
    ) -> None:
        """Updates the metrics of the tasks that have labels; see `MultiTaskModel.compute_metrics`.

        Args:
            y: Labels by task.
            y_pred: Predictions by task.
            weights: Weights by task, zero where a label is missing; or None.
        """
        for name, labels in y.items():
            for metric in self.by_task[name]:
                metric.update_state(labels, y_pred[name], sample_weight=weights.get(name))

    def of_labelled(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns logs with NaN for tasks without any label, if others had some.

        Zero would be the best possible loss.

        Args:
            logs: Logs of a finished evaluation; no names are added.
        """
        seen = [bool(keras.ops.convert_to_numpy(loss.count) > 0) for loss in self.losses]
        unknown: list[str] = []
        for loss, own, there in zip(self.losses, self.by_task.values(), seen, strict=True):
            if there or not any(seen):
                continue
            unknown.append(loss.name)
            for metric in own:
                found = metric.result()
                unknown += found if isinstance(found, Mapping) else [metric.name]
        return {name: math.nan if name in unknown else value for name, value in logs.items()}

    def without_weights(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns logs without the task weights.

        Args:
            logs: Logs by name.
        """
        weights = {metric.name for metric in self.weights}
        return {name: value for name, value in logs.items() if name not in weights}

    def update_weights(self, task_weights: tf.Tensor, counted: tf.Tensor | None) -> None:
        """Updates the metrics of the task weights with those of a step, `(K,)`.

        Args:
            task_weights: The weights.
            counted: Boolean scalar: whether the step counts; None if it does.
        """
        for metric, weight in zip(self.weights, tf.unstack(task_weights), strict=True):
            if counted is None:
                metric.update_state(weight)
            else:
                kept = tf.where(counted, weight, 0.0)
                metric.update_state(kept, sample_weight=tf.cast(counted, tf.float32))


def global_values(
    metrics: Sequence[keras.metrics.Metric],
) -> list[tuple[keras.Variable, tf.Tensor]]:
    """Returns the per-replica variables of metrics, and their sums over all replicas.

    Args:
        metrics: The metrics; called within a replica.
    """
    every = {id(v): v for metric in metrics for v in metric.variables}
    local = [v for v in every.values() if v.synchronization == "on_read" and v.aggregation == "sum"]
    if not local:
        return []
    values = [tf.convert_to_tensor(v.value) for v in local]
    return list(zip(local, all_reduce(values), strict=True))


def _named(task: Task, used: set[int], prefixed: bool) -> list[TaskMetric]:
    """Makes the metrics of a task, with numbers appended to equal names as in Keras.

    Args:
        task: The task.
        used: Ids of the metric objects in use; those of this task are added.
        prefixed: Whether their names are prefixed with the task's name.
    """
    given = [(m, False) for m in task.make_metrics(task.given_metrics)]
    given += [(m, True) for m in task.make_metrics(task.given_weighted_metrics)]
    found: list[TaskMetric] = []
    seen: dict[str, int] = {}
    for metric, weighted in given:
        own = _copy(metric, task.name) if id(metric) in used else metric
        used.add(id(metric))
        name = automatic_name(own)
        if weighted and name in seen:
            name = f"weighted_{name}"
        number = seen[name] = seen.get(name, -1) + 1
        name = f"{name}_{number}" if number else name
        found.append(TaskMetric(own, f"{task.name}_" if prefixed else "", name, weighted))
    return found


def _copy(metric: keras.metrics.Metric, task: str) -> keras.metrics.Metric:
    """Returns a copy of another task's metric, since sharing it would mix their states."""
    config = metric.get_config()
    arguments = inspect.signature(type(metric).__init__).parameters.values()
    named = {a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)}
    # Evenly spaced thresholds follow from their number.
    spared = {"thresholds"} if isinstance(metric, keras.metrics.AUC) else set()
    if lost := sorted(named - {"self", "name", "dtype"} - spared - set(config)):
        raise ValueError(
            f"The metric object '{metric.name}' of task '{task}' is also given to another task, "
            f"and a copy of it would lose {lost}. Create one for each task."
        )
    return type(metric).from_config(config)
