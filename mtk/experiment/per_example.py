"""Contributions of each test example to a run's metrics, for confidence intervals."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mtk import atomic, example_values
from mtk.elements import Elements
from mtk.example_values import ExampleValues
from mtk.experiment.building import Built
from mtk.experiment.preemption import Preemption
from mtk.experiment.run_folder import RunFolder
from mtk.metrics import PixelAccuracy
from mtk.task_metrics import TaskMetric
from mtk.tasks import Task
from mtk.trainer import MultiTaskModel, batch, forward

# This many batches are done in the time that tracing a graph takes.
_EAGER = 8
# Allowed difference between the mean over examples and the reported metric.
_TOLERANCE = 1e-3

# By name: the contributions of each example of a batch to the sum of a metric and its divisor.
Sums: TypeAlias = dict[str, tuple[tf.Tensor, tf.Tensor]]


class _Batch(NamedTuple):
    """The contributions of one batch: the sums of its metrics, and the labels by task."""

    sums: Sums
    labels: dict[str, tf.Tensor]


def write(built: Built, folder: RunFolder, test: Mapping[str, Any], preemption: Preemption) -> None:
    """Writes `test_examples.npz`.

    Every worker computes all of it on one device, in the order of the data; only the chief writes
    to the folder of the run.

    Args:
        built: What was trained, with the weights of the selected step.
        folder: The run folder.
        test: The metrics of the split, as returned by `results.by_task`.
        preemption: The handler of signals; a signal stops the call between two batches.
    """
    # A device gets no more examples at a time than in a training step.
    replicas = built.model.distribute_strategy.num_replicas_in_sync
    examples = built.data.test(-(-built.plan.batch_size // replicas))
    found = measure(built.model, examples, test, preemption)
    with atomic.replacing(folder.test_examples) as unfinished:
        example_values.save(unfinished, found)


def measure(
    model: MultiTaskModel,
    examples: Iterable[Any],
    test: Mapping[str, Any],
    preemption: Preemption | None = None,
    traced: Callable[[Any], "_Batch"] | None = None,
) -> ExampleValues:
    """Returns the loss and the metrics of each example.

    Only metrics that are means over the examples, to a thousandth, are included. Others are left
    out, such as a root of a mean, an AUC, or a score of the workload.

    Args:
        model: A model that has seen a batch.
        examples: Batches in order.
        test: See `write`.
        preemption: See `write`.
        traced: The result of `tracing` for the model, for repeated measurements.
    """
    eager = 0 if traced else _EAGER
    traced = traced or tracing(model)
    parts: dict[str, list[np.ndarray]] = {}
    orders = {name: hashlib.sha256() for name in model.task_names}
    for number, data in enumerate(examples):
        found = _of_batch(model, data) if number < eager else traced(data)
        for name, labels in found.labels.items():
            orders[name].update(np.ascontiguousarray(labels).tobytes())
        for name, sums in found.sums.items():
            parts.setdefault(name, []).append(np.stack([np.asarray(s, np.float64) for s in sums]))
        if preemption is not None:
            preemption.check()
    kept = {name: np.concatenate(each, axis=1) for name, each in parts.items()}
    kept = {
        name: sums
        for name, sums in kept.items()
        if _is_mean(sums[0], sums[1], _reported(name, test))
    }
    return _joined(kept, {name: order.hexdigest()[:16] for name, order in orders.items()})


def tracing(model: MultiTaskModel) -> Callable[[Any], _Batch]:
    """Returns the function that measures a batch, as a graph that is traced once.

    Args:
        model: A model that has seen a batch.
    """
    found: Callable[[Any], _Batch] = tf.function(
        lambda data: _of_batch(model, data), autograph=False, reduce_retracing=True
    )
    return found


def _joined(kept: Mapping[str, np.ndarray], orders: Mapping[str, str]) -> ExampleValues:
    """Returns the sums `(2, N)` of all metrics as arrays of one length."""
    longest = max((sums.shape[1] for sums in kept.values()), default=0)
    values, counts = np.zeros((2, len(kept), longest))
    for row, (total, count) in enumerate(kept.values()):
        counts[row, : len(count)] = count
        np.divide(total, count, out=values[row, : len(count)], where=count != 0)
    return ExampleValues(
        np.array(list(kept), str),
        np.array([orders[name.partition("/")[0]] for name in kept], str),
        np.array([sums.shape[1] for sums in kept.values()], np.int64),
        values,
        counts,
    )


def _reported(name: str, test: Mapping[str, Any]) -> float | None:
    task, _, metric = name.partition("/")
    found: float | None = test["tasks"].get(task, {}).get(metric)
    return found


def _is_mean(total: np.ndarray, count: np.ndarray, reported: float | None) -> bool:
    """Whether a metric is the mean over the examples, as far as its value shows."""
    if reported is None or not np.isfinite(total).all() or not count.sum() > 0:
        return False
    mean = total.sum() / count.sum()
    return bool(abs(mean - reported) <= _TOLERANCE * abs(reported) + 1e-6)


def _of_batch(model: MultiTaskModel, data: Any) -> _Batch:
    sub_batches = batch.parse(data, model.task_names)
    passed, _ = forward.infer(model.network, model.tasks, sub_batches)
    sums: Sums = {}
    labels = {}
    for task, of_task in zip(model.tasks, passed, strict=True):
        if (elements := of_task.elements) is None:
            continue
        labels[task.name] = _labelled(elements)
        if task.normalize != "sum":
            sums[f"{task.name}/loss"] = _of_loss(task, elements)
        for metric in model.task_metrics.by_task[task.name]:
            found = _of_metric(metric, elements)
            if found is not None:
                sums[f"{task.name}/{metric.name.removeprefix(f'{task.name}_')}"] = found
    return _Batch(sums, labels)


def _labelled(elements: Elements) -> tf.Tensor:
    """Returns the labels that are present, so that padding makes no difference."""
    there = elements.weights if elements.labelled is None else elements.labelled
    labels = elements.labels
    if there.shape.rank < labels.shape.rank:
        labels = tf.reshape(labels, tf.concat([tf.shape(there), [-1]], 0))
    return tf.boolean_mask(labels, there != 0) if there.shape.rank else labels


def _of_loss(task: Task, elements: Elements) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the contributions of each example to the loss and to its divisor."""
    there = elements.weights if elements.labelled is None else elements.labelled
    weights = elements.weights
    total = tf.where(weights != 0, elements.values * weights, 0.0)
    count = weights if task.normalize == "weights" else tf.cast(there != 0, tf.float32)
    return _by_example(total), _by_example(count)


def _by_example(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)


def _of_metric(metric: TaskMetric, elements: Elements) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Returns the contributions of each example to a metric's sum and divisor; None if it has none.

    Both are linear in the weights of the examples, so the contributions are the derivatives. A
    metric that takes no weights has none, such as a function that returns the mean over a batch.
    """
    if not _has_sums(metric.metric):
        return None
    weights = None if elements.labelled is None else elements.weights
    y_true, y_pred, weights = metric.seen(elements.labels, elements.predictions, weights)
    with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
        share = tf.ones(tf.shape(y_pred)[:1])
        tape.watch(share)
        each = share
        if weights is not None:
            each = weights * tf.reshape(share, [-1] + [1] * (weights.shape.rank - 1))
        metric.metric.reset_state()
        try:
            metric.metric.update_state(y_true, y_pred, sample_weight=each)
        except Exception:  # A user's metric may raise anything.
            return None
        sums = _sums(metric.metric)
    found = [tape.gradient(value, share) for value in sums]
    return None if found[0] is None or found[1] is None else (found[0], found[1])


def _has_sums(metric: keras.metrics.Metric) -> bool:
    """Whether a metric is a quotient of two sums, and not, for instance, its root."""
    is_mean = isinstance(metric, keras.metrics.Mean)
    is_plain = is_mean and type(metric).result is keras.metrics.Mean.result
    return is_plain or isinstance(metric, PixelAccuracy)


def _sums(metric: keras.metrics.Metric) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the dividend and the divisor of a metric."""
    if isinstance(metric, PixelAccuracy):
        matrix = tf.convert_to_tensor(metric.matrix)
        return tf.linalg.trace(matrix), tf.reduce_sum(matrix)
    return tf.convert_to_tensor(metric.total), tf.convert_to_tensor(metric.count)
