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
from mtk.replicas import all_reduce
from mtk.tasks import Task, automatic_name


class ScalarMean(keras.metrics.Mean):
    """The mean of scalars: as Keras' of any shape, in a fourth of the operations to trace."""

    def update_state(self, values: tf.Tensor, sample_weight: tf.Tensor | None = None) -> None:
        values = tf.cast(values, self.dtype)
        count = tf.ones_like(values) if sample_weight is None else sample_weight
        count = tf.cast(count, self.dtype)
        # A replica without examples has a mean of nothing, which is NaN and counts zero.
        self.total.assign(self.total + tf.math.multiply_no_nan(values, count))
        self.count.assign(self.count + count)


class MeanLoss(keras.metrics.Metric):
    """The mean of the tasks' mean losses, over the tasks that had a label.

    NaN if none had, as where every step was skipped: zero would be the best loss of all. With
    weights it is what Keras calls the loss: the weighted sum, and what layers and regularizers add.

    Args:
        losses: The tasks' loss metrics.
        weights: Their weights in the sum; None for the mean.
    """

    def __init__(
        self, losses: Sequence[keras.metrics.Mean], weights: Sequence[float] | None = None
    ):
        super().__init__(name="loss")
        self.losses, self.weights = tuple(losses), weights
        self.penalty = None if weights is None else ScalarMean(name="penalty")

    def update_state(self, penalty: tf.Tensor, examples: int | tf.Tensor) -> None:
        """Takes in what layers and regularizers add; the tasks' losses are updated by themselves.

        Args:
            penalty: Scalar, for these examples.
            examples: Their number.
        """
        if self.penalty is not None:
            self.penalty.update_state(penalty, sample_weight=tf.cast(examples, tf.float32))

    def result(self) -> tf.Tensor:
        seen = tf.stack([tf.cast(loss.count > 0, self.dtype) for loss in self.losses])
        means = tf.stack([tf.cast(loss.result(), self.dtype) for loss in self.losses]) * seen
        if self.penalty is None:
            return tf.reduce_sum(means) / tf.reduce_sum(seen)
        total = tf.reduce_sum(means * tf.constant(self.weights, self.dtype))
        total += tf.cast(self.penalty.result(), self.dtype)
        return nan_unless(tf.reduce_any(seen > 0), total)


class TaskMetric(keras.metrics.Metric):
    """A metric of one task, logged under the task's name.

    Where examples have several labels of which some are missing, a metric that takes each label by
    itself, such as an error or an AUC, sees those that are there; one that takes them together,
    such as a categorical accuracy, sees the examples that lack none. Which it is, is tried out.

    Args:
        metric: The metric, which keeps its state: an object of the user's is used as it is.
        prefix: What the names of its values begin with in the logs.
        name: Its own name, without the prefix.
        weighted: Whether it sees sample weights, and not only what is labelled.
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
        """Returns labels, predictions and weights as the metric inside sees them."""
        if sample_weight is None:
            return y_true, y_pred, None
        if not self.weighted:
            # Predictions that a `compute_metrics` of one's own has made do not tell.
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
            # Keras flattens these weights, as many as there are labels, and does not spread them.
            labels = y_true if self.metric.sparse_y_true else y_true[..., 0]
            sample_weight = tf.broadcast_to(of_rank(sample_weight, labels), tf.shape(labels))
        return y_true, y_pred, sample_weight

    def _takes_each_label(self, shape: tf.TensorShape) -> bool:
        """Whether the metric is the same of labels in the last axis and of labels one by one."""
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
        """Returns what the metric says of these alone; its state stays."""
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
        loss_weights: Weights of the tasks in what is logged as `loss`; None for their mean.
        prefixed: Whether names of metrics begin with that of the task. Keras leaves it out where a
            network has one output.

    Raises:
        ValueError: If two metrics have the same name, or one object is given to several tasks and
            cannot be copied.
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
                f"Two metrics would be logged under one name: {twice}. Rename a task or a metric."
            )

    def of_evaluation(self) -> list[keras.metrics.Metric]:
        """Returns the metrics that training and evaluation have in common, in Keras' order."""
        each = [metric for metrics in self.by_task.values() for metric in metrics]
        if len(self.losses) > 1:
            each.sort(key=lambda metric: metric.name)
        return [self.mean, *self.losses, *each]

    def of_training(self) -> list[keras.metrics.Metric]:
        """Returns these and the task weights."""
        return [*self.of_evaluation(), *self.weights]

    def update_losses(
        self, tasks: Sequence[Task], passed: Sequence[TaskPass], whole: Sequence[TaskPass]
    ) -> None:
        """Takes in the losses of a forward pass.

        Args:
            tasks: The K tasks.
            passed: What the pass gave of each.
            whole: Numbers and weights of each task's labels in the batch, of which these examples
                may be a part.
        """
        for loss, task, found, batch in zip(self.losses, tasks, passed, whole, strict=True):
            divisor = task.divisor(batch.count, batch.weight)
            # In Keras a batch counts by its examples, whatever its loss is divided by.
            counted = batch.count if self.mean.weights is not None else divisor
            share = tf.math.divide_no_nan(found.count, batch.count)
            mean = tf.math.divide_no_nan(found.total, divisor * share)
            loss.update_state(mean, sample_weight=counted * share)

    def update(
        self, y: Mapping[str, Any], y_pred: Mapping[str, Any], weights: Mapping[str, Any]
    ) -> None:
        """Updates the metrics of the tasks that have labels; see `MultiTaskModel.compute_metrics`.

        Args:
            y: By task, the labels.
            y_pred: By task, the predictions.
            weights: By task, zero where a label is missing and its weight elsewhere; or None.
        """
        for name, labels in y.items():
            for metric in self.by_task[name]:
                metric.update_state(labels, y_pred[name], sample_weight=weights.get(name))

    def of_labelled(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns logs with NaN for a task that had no label while others had some.

        Zero would be the best loss of all.

        Args:
            logs: Of an evaluation that has ended; what they do not name stays out.
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

    def update_weights(self, task_weights: tf.Tensor, counted: tf.Tensor | None) -> None:
        """Takes in a step's task weights `(K,)`.

        Args:
            task_weights: The weights.
            counted: Boolean scalar: whether the step counts; None: it does.
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
    """Returns the variables of metrics that replicas keep by themselves, and their sums over all.

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
    """Makes the metrics of a task; those of one name are told apart as Keras does.

    Args:
        task: The task.
        used: Identities of the metric objects that serve already; more are added.
        prefixed: Whether their names begin with that of the task.
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
    """Returns a metric like one that serves another task, which would mix what the two see."""
    config = metric.get_config()
    arguments = inspect.signature(type(metric).__init__).parameters.values()
    named = {a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)}
    # Thresholds that are evenly spaced follow from their number.
    spared = {"thresholds"} if isinstance(metric, keras.metrics.AUC) else set()
    if lost := sorted(named - {"self", "name", "dtype"} - spared - set(config)):
        raise ValueError(
            f"The metric object '{metric.name}' of task '{task}' is given to another task too, and "
            f"a copy of it would lose {lost}. Make one for each task."
        )
    return type(metric).from_config(config)
