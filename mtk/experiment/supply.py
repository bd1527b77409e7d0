"""Checks that a workload provides as many batches as a run needs."""

from typing import Any

import tensorflow as tf

from mtk.callbacks.base import StepCallback
from mtk.display import counted
from mtk.experiment.plan import Plan
from mtk.workloads import Workload


class ExhaustedDataError(ValueError):
    """A workload has provided fewer batches than requested."""


class Supply(StepCallback):
    """Stops a run with an error at an evaluation that comes too early.

    If the training data end too early, Keras only warns, evaluates, and restarts the data. This
    callback must be the first, so that such an evaluation is not recorded and the last checkpoint
    remains valid.

    Args:
        name: Name of the workload.
        plan: Steps and evaluations.
    """

    def __init__(self, name: str, plan: Plan):
        super().__init__()
        self.name = name
        self.plan = plan
        self.first = 0
        self._expects = False

    def expect(self, batches: tf.data.Dataset, first_step: int) -> None:
        """Checks the training batches as far as possible before the first is read.

        Args:
            batches: The batches of the workload from `first_step` on.
            first_step: The current step of the run.

        Raises:
            ExhaustedDataError: If the cardinality of the data set shows that it is too short.
        """
        self.first, self._expects = first_step, True
        size = int(batches.cardinality())
        if 0 <= size < self.plan.steps - first_step:
            raise self._error(size)

    def end(self) -> None:
        self._expects = False

    def on_test_begin(self, logs: Any = None) -> None:
        del logs
        self._check()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._check()
        super().on_epoch_end(epoch, logs)

    def _check(self) -> None:
        if not self._expects or self.model.stop_training or self.step >= self.plan.steps:
            return
        if self.step % self.plan.evaluate_every or self.step == self._epoch_start:
            raise self._error(self.step - self.first)

    def _error(self, number: int) -> ExhaustedDataError:
        due, first = self.plan.steps - self.first, self.first
        asked = "1 batch was" if due == 1 else f"{due:,} batches were"
        since = f" from step {first}" if first else ""
        return ExhaustedDataError(
            f"The training data of {self.name!r} ended early: {asked} requested{since}, for the "
            f"run's {counted(self.plan.steps, 'step')}, but there were only {number}. "
            "`train(batch_size, steps, seed, first_step)` must return `steps - first_step` "
            "batches, as `dataset.repeat().take(steps - first_step)` does; or train for fewer "
            "steps (`steps`, `epochs`)."
        )


def check(data: Workload, plan: Plan, batches: tf.data.Dataset) -> None:
    """Checks before a run that the workload provides the batches that the run needs.

    The number of training batches is checked as far as data sets know their size. Every evaluated
    split must have batches and be finite.

    Args:
        data: The workload.
        plan: Steps and evaluations.
        batches: The training batches of the workload, from the first step on.

    Raises:
        ExhaustedDataError: If there are too few training data, or a split is empty or infinite.
    """
    Supply(data.name, plan).expect(batches, 0)
    for name in ("validation", "test", "train_evaluation"):
        batches = getattr(data, name)(plan.batch_size)
        size = int(batches.cardinality())
        if size == tf.data.INFINITE_CARDINALITY:
            raise ExhaustedDataError(
                f"`{name}` of the workload {data.name!r} never ends. It must return its split "
                "once: leave out `repeat()`."
            )
        if size == 0 or (size < 0 and next(iter(batches), None) is None):
            raise ExhaustedDataError(
                f"`{name}({plan.batch_size})` of the workload {data.name!r} returns no batch, "
                "so nothing can be evaluated. Provide examples; if there are fewer than one batch, "
                "batch them without `drop_remainder=True`."
            )
