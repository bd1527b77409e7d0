"""Saves a run during training, and resumes it from a checkpoint."""

import contextlib
import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtk import atomic, checkpoints, errors, resources
from mtk.callbacks.base import StepCallback
from mtk.checkpoints import AppendOnlyFiles, AsyncCheckpointer, Snapshot, Store
from mtk.experiment.options import Checkpoints
from mtk.experiment.preemption import Preemption
from mtk.experiment.run_folder import RunFolder
from mtk.trainer import MultiTaskModel


class Position(NamedTuple):
    """The progress of a run.

    Attributes:
        step: Number of steps done.
        evaluated: Whether the evaluation at this step, if one is due, is done.
        stopped: Whether a callback has stopped the training.
    """

    step: int = 0
    evaluated: bool = True
    stopped: bool = False


class Checkpointing(StepCallback):
    """Writes a checkpoint at regular times, and at each evaluation.

    It must be the last callback, since the saved state of a step includes what the other callbacks
    do at this step. After a signal, it writes a last checkpoint and raises `InterruptedRunError`.
    Values are copied to the host between two steps, and written in the background.

    Args:
        folder: The opened run folder.
        others: The callbacks with a state.
        preemption: The handler of signals.
        options: How often to save, and how many to keep.

    Attributes:
        held_up: Seconds for which the training waited for checkpoints.
    """

    def __init__(
        self,
        folder: RunFolder,
        others: Sequence[StepCallback],
        preemption: Preemption,
        options: Checkpoints,
    ):
        super().__init__()
        self.folder = folder
        self.others = list(others)
        self.preemption = preemption
        self.every = options.every
        self.growing = AppendOnlyFiles(folder.path, folder.metrics, folder.tensorboard)
        self.writer = AsyncCheckpointer(Store(folder.checkpoints, self.growing, options.keep))
        self.last: Snapshot | None = None
        self.held_up = 0.0
        self._refill = False
        self._saved_at = time.monotonic()
        self._pinned = folder.checkpoints / "unfinished.pinned.weights.h5"

    def restore(self, model: MultiTaskModel) -> Position:
        """Restores the model, the callbacks and the files from the newest checkpoint.

        Args:
            model: The compiled model, in its state at the start of the run.

        Returns:
            The progress of the run.

        Raises:
            ValueError: If the record has lost lines; nothing is changed.
        """
        snapshot = self.writer.store.newest()
        self.growing.cut({} if snapshot is None else snapshot.lengths)
        self.folder.selected.unlink(missing_ok=True)
        if snapshot is None:
            return Position()
        model.make_train_function()  # Creates missing variables and resets notes.
        checkpoints.assign(model, snapshot.variables, self.preemption.workers.index)
        for path in snapshot.files.values():
            with atomic.replacing(self.folder.selected) as unfinished:
                checkpoints.link(path, unfinished)
        self.last, self.step = snapshot, snapshot.step
        self._set_states()
        return Position(*snapshot.state["position"])

    def reassign(self) -> None:
        """Resets the model's variables to their values at the last checkpoint."""
        assert self.last is not None
        checkpoints.assign(self.model, self.last.variables, self.preemption.workers.index)

    def refill_metrics(self) -> None:
        """Makes the next Keras epoch start with the metrics of the last checkpoint."""
        self._refill = True

    def begin(self) -> None:
        self.preemption.check()
        self._set_states()  # The other callbacks may have been reset.

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        self.preemption.forget_pace()
        if self._refill:  # Keras has just reset the metrics.
            self.reassign()
            self._refill = False

    def stepped(self, logs: Mapping[str, Any]) -> None:
        del logs
        due = time.monotonic() - self._saved_at >= self.every
        stop, save = self.preemption.agreed(due)
        if stop:
            self._stop(self._snapshot(evaluated=False))
        self._watch_writer()
        if save:
            self._save(self._snapshot(evaluated=False))

    def on_test_begin(self, logs: Any = None) -> None:
        del logs
        self.preemption.forget_pace()
        # Keras' evaluation resets the metrics of the training.
        self._before_evaluation = self._snapshot(evaluated=False)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        if self.preemption.agreed()[0]:
            self._stop(self._before_evaluation)

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        del logs
        snapshot = self._snapshot(evaluated=True)
        if self.preemption.agreed()[0]:
            self._stop(snapshot)
        self._save(snapshot)

    def complete(self) -> None:
        """Waits until the last checkpoint is written."""
        self._watch_writer(wait=True)

    def forget_damaged(self) -> None:
        """Removes the damaged checkpoints that were set aside: a finished run needs none."""
        self.writer.store.forget_damaged()

    def close(self) -> None:
        """Stops the background work."""
        self.writer.close()
        with contextlib.suppress(OSError):  # The folder may be gone.
            self._pinned.unlink(missing_ok=True)

    def _set_states(self) -> None:
        if self.last is not None:
            for other, state in zip(self.others, self.last.state["callbacks"], strict=True):
                other.step = self.last.step
                other.set_state(state)

    def _snapshot(self, evaluated: bool) -> Snapshot:
        started = time.monotonic()
        with contextlib.suppress(OSError):  # Raised again when the checkpoint is written.
            self._flush()
        position = Position(self.step, evaluated, self.model.stop_training)
        state = {
            "position": position,
            "callbacks": [each.get_state() for each in self.others],
            "run": self.folder.description.as_dict(),
        }
        values = checkpoints.values(self.model, self.preemption.workers.gathered)
        lengths = self.growing.lengths()
        record = self.growing.record_hash(self.growing.record_length(lengths))
        self.held_up += time.monotonic() - started
        return Snapshot(self.step, values, state, lengths, record=record)

    def _save(self, snapshot: Snapshot) -> None:
        started = time.monotonic()
        self.last = snapshot
        self._watch_writer(wait=True)
        try:
            self._flush()
            self.writer.submit(dataclasses.replace(snapshot, files=self._pin_files()))
        except OSError as error:
            self._report(error)
        self._saved_at = time.monotonic()
        self.held_up += self._saved_at - started

    def _stop(self, snapshot: Snapshot) -> None:
        self._save(snapshot)
        self._watch_writer(wait=True)
        self.preemption.check()

    def _flush(self) -> None:
        for other in self.others:
            other.flush()

    def _pin_files(self) -> dict[str, Path]:
        """Keeps the currently selected weights, which may be replaced while they are written."""
        self._pinned.unlink(missing_ok=True)
        if not self.folder.selected.exists():
            return {}
        checkpoints.link(self.folder.selected, self._pinned)
        return {self.folder.selected.name: self._pinned}

    def _watch_writer(self, wait: bool = False) -> None:
        try:
            self.writer.wait() if wait else self.writer.poll()
        except OSError as error:
            self._report(error)

    def _report(self, error: OSError) -> None:
        """Continues without a checkpoint that could not be written, if there is an older one."""
        self.folder.check_there(error)
        problem = f"The checkpoint could not be written: {errors.message(error)}"
        if not self.writer.store:
            raise OSError(f"{problem}. There is no earlier checkpoint, so the run ends") from error
        free = resources.free(self.folder.path)
        warnings.warn(
            f"{problem}; {free / 1e6:.1f} MB are free. Training continues and retries in "
            f"{self.every:g} s or at the next evaluation. If it crashes before that, it resumes "
            "from the previous checkpoint.",
            stacklevel=2,
        )
