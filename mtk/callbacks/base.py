"""Base of the callbacks: tracks the optimizer step, and splits logs by task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from mtk.monitor import as_number

_VALIDATION = "val_"


class Entry(NamedTuple):
    """One value of the logs.

    Attributes:
        split: "train", "validation" or "test".
        task: Name of the task, or empty for values of the whole model.
        name: Name of the metric: "loss", "weight", "accuracy", ….
        value: The value.
    """

    split: str
    task: str
    name: str
    value: float


def entries(logs: Mapping[str, Any] | None, task_names: Sequence[str], split: str) -> list[Entry]:
    """Splits the keys of Keras' logs.

    Args:
        logs: The logs that Keras passes to callbacks, e.g. `{"loss": 1.2, "val_left_loss": 0.9}`.
        task_names: Names of the tasks.
        split: The split of keys without "val_".
    """
    found = []
    for key, value in (logs or {}).items():
        validation = key.startswith(_VALIDATION)
        name = key.removeprefix(_VALIDATION) if validation else key
        # If one task's name is a prefix of another's, the longer name wins.
        owners = [task for task in task_names if name.startswith(f"{task}_")]
        task = max(owners, key=len, default="")
        name = name[len(task) + 1 :] if task else name
        found.append(Entry("validation" if validation else split, task, name, as_number(value)))
    return found


class StepCallback(keras.callbacks.Callback):
    """A callback that tracks the optimizer step.

    Subclasses override `begin`, `stepped`, `evaluated` and `end`; those with state between steps
    also override `get_state` and `set_state`.

    Attributes:
        step: Number of steps so far, including skipped ones.
        previous_step: The step at the previous call of `stepped`.
        start: The step at which `fit` begins, if it differs from the optimizer's count: a
            loss-scaling optimizer does not count the steps that it skips.
    """

    step: int = 0
    previous_step: int = 0
    start: int | None = None
    _epoch_start: int = 0

    @property
    def task_names(self) -> list[str]:
        return list(getattr(self.model, "task_names", []))

    @property
    def nonfinite_step(self) -> int | None:
        """The first step with a gradient or a task loss that is infinite or NaN, or None.

        Reading it waits for the last step. It is not recorded for plain Keras models.
        """
        if not self.task_names:
            return None
        noted = int(keras.ops.convert_to_numpy(self.model.nonfinite_step))
        return None if noted < 0 else noted

    @property
    def nonfinite_tasks(self) -> list[str]:
        """Names of the tasks whose loss or gradient was not finite at that step."""
        if not self.task_names:
            return []
        noted = keras.ops.convert_to_numpy(self.model.nonfinite_tasks)
        return [name for name, bad in zip(self.task_names, noted, strict=True) if bad]

    def passed(self, every: int) -> bool:
        """Whether the steps since the previous call of `stepped` include a multiple of `every`."""
        return self.step // every > self.previous_step // every

    def begin(self) -> None:
        """Called before the first step."""

    def stepped(self, logs: Mapping[str, Any]) -> None:
        """Called after each step, or after `steps_per_execution` of them."""

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        """Called at the end of each Keras epoch, after validation."""

    def end(self) -> None:
        """Called after the last step."""

    def flush(self) -> None:
        """Writes pending data to disk.

        Raises:
            OSError: If this fails; no data is lost, and the next call tries again.
        """

    def get_state(self) -> dict[str, Any]:
        """Returns the state that a resumed run needs, as JSON values."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `get_state` returned."""
        for name, value in state.items():
            setattr(self, name, value)

    def on_train_begin(self, logs: Any = None) -> None:
        del logs
        # Not `int(...)`: with several replicas, a variable has several components.
        counted = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if self.task_names:
            # The optimizer does not count skipped steps, but they consume data.
            counted += int(keras.ops.convert_to_numpy(self.model.skipped_steps))
        self.step = counted if self.start is None else self.start
        self.begin()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        del epoch, logs
        self._epoch_start = self.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # `batch` counts from 0 in each epoch and is the last one of an execution.
        self.previous_step, self.step = self.step, self._epoch_start + batch + 1
        self.stepped(logs or {})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        del epoch
        self.evaluated(logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        del logs
        self.end()


class MaxSteps(StepCallback):
    """Stops `fit` after step `steps`, with a final validation.

    This allows a run to end within a Keras epoch.

    Args:
        steps: The last optimizer step.
    """

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def stepped(self, logs: Mapping[str, Any]) -> None:
        del logs
        if self.step >= self.steps:
            self.model.stop_training = True
