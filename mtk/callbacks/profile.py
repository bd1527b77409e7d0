"""Profiles a few steps."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtk.callbacks.base import StepCallback


class Profile(StepCallback):
    """Records steps with TensorFlow's profiler, for TensorBoard's profile plugin.

    Steps before and after run without the profiler. If training resumes inside the window, the rest
    of the window is recorded; if it ends inside, the part up to the end.

    Args:
        log_dir: Folder of the event files; the profile is written to `plugins/profile` in it.
        first: The first step to record, counted from 1.
        last: The last one.

    Raises:
        ValueError: If the steps are not in order.
    """

    def __init__(self, log_dir: str | Path, first: int, last: int):
        super().__init__()
        if not 1 <= first <= last:
            raise ValueError(
                "Steps to profile are counted from 1, and the first must not come after the "
                f"last. Received: profile_steps={(first, last)}"
            )
        self.log_dir = Path(log_dir)
        self.first = first
        self.last = last
        self.running = False
        self._step_mark: Any = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        coming = self.step + 1
        if not self.running and self.first <= coming <= self.last:
            tf.profiler.experimental.start(str(self.log_dir))
            self.running = True
        if self.running:
            # Marks the beginning and end of a step; `_r=1` makes it a root event of the profiler.
            self._step_mark = tf.profiler.experimental.Trace("train", step_num=coming, _r=1)
            self._step_mark.__enter__()

    def stepped(self, logs: Mapping[str, Any]) -> None:
        del logs  # Keras has read them, so the step is complete on the device.
        if self._step_mark is not None:
            self._step_mark.__exit__(None, None, None)
            self._step_mark = None
        if self.running and self.step >= self.last:
            self._stop()

    def end(self) -> None:
        if self.running:
            self._stop()

    def _stop(self) -> None:
        self.running = False
        try:
            tf.profiler.experimental.stop()
        except tf.errors.OpError as error:  # Such as on a full disk, which must not stop training.
            warnings.warn(
                f"The profile is lost: {self.log_dir} cannot be written ({type(error).__name__}).",
                stacklevel=2,
            )
