"""The metrics of a model: every task's loss, metrics and weight, under the task's name."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from mtk.tasks import Task
from mtk.trainer.forward import Losses


class MeanLoss(keras.metrics.Metric):
    """The mean of the tasks' mean losses, over the tasks that had a label.

    NaN if none had, as where every step was skipped: zero would be the best loss of all. It has no
    state of its own.

    Args:
        losses: The tasks' loss metrics.
    """

    def __init__(self, losses: Sequence[keras.metrics.Mean]):
        super().__init__(name="loss")
        self.losses = losses

    def update_state(self) -> None:
        """Does nothing: the tasks' losses are updated by themselves."""

    def result(self) -> tf.Tensor:
        seen = tf.stack([tf.cast(loss.count > 0, tf.float32) for loss in self.losses])
        means = tf.stack([loss.result() for loss in self.losses])
        return tf.reduce_sum(means * seen) / tf.reduce_sum(seen)


class TaskMetrics:
    """Holds and updates the metrics of K tasks.

    Each metric is a copy of the task's, so that models do not share state and the copy's
    variables belong to the model's distribution strategy.

    Args:
        tasks: The K tasks.

    Raises:
        ValueError: If two metrics have the same name, or one cannot be copied.
    """

    def __init__(self, tasks: Sequence[Task]):
        self.losses = [keras.metrics.Mean(name=f"{task.name}_loss") for task in tasks]
        self.by_task = [[_copy(metric, task.name) for metric in task.metrics] for task in tasks]
        self.weights = [keras.metrics.Mean(name=f"{task.name}_weight") for task in tasks]
        self.mean = MeanLoss(self.losses)
        names = [metric.name for metric in self.of_training()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Two metrics would be logged under one name: {twice}. Rename a task or a metric."
            )

    def of_evaluation(self) -> list[keras.metrics.Metric]:
        """Returns the metrics that training and evaluation have in common."""
        pairs = zip(self.losses, self.by_task, strict=True)
        return [self.mean, *(m for loss, metrics in pairs for m in (loss, *metrics))]

    def of_training(self) -> list[keras.metrics.Metric]:
        """Returns these and the task weights."""
        return [*self.of_evaluation(), *self.weights]

    def update(self, passed: Losses) -> None:
        """Takes in a forward pass; on a replica, of its own part of the batch."""
        for k, (y_true, y_pred, weights) in enumerate(passed.outputs):
            mean = tf.math.divide_no_nan(passed.sums[k], passed.counts[k])
            self.losses[k].update_state(mean, sample_weight=passed.counts[k])
            for metric in self.by_task[k]:
                metric.update_state(y_true, y_pred, sample_weight=weights)

    def update_weights(self, task_weights: tf.Tensor) -> None:
        """Takes in a step's task weights `(K,)`."""
        for metric, weight in zip(self.weights, tf.unstack(task_weights), strict=True):
            metric.update_state(weight)


def _copy(metric: keras.metrics.Metric, task_name: str) -> keras.metrics.Metric:
    config = {**metric.get_config(), "name": f"{task_name}_{metric.name}"}
    try:
        return type(metric).from_config(config)
    except TypeError as error:
        raise ValueError(
            f"The metric '{metric.name}' of task '{task_name}' cannot be copied from its config. "
            "Give its class a `get_config` that returns every argument of `__init__`."
        ) from error
