"""Event files for TensorBoard whose write errors do not stop training."""

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from mtk import event_files


class SummaryWriter:
    """Writes points of curves to a folder of event files for each split.

    If a file cannot be written, as on a full disk, the curves have a gap and go on in a new file.

    Args:
        log_dir: Parent folder of the splits' folders.
    """

    def __init__(self, log_dir: Path):
        self.log_dir = log_dir
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    @property
    def begun(self) -> bool:
        """Whether anything has been written."""
        return bool(self._writers)

    def points(self, split: str, step: int, values: Mapping[str, float | np.ndarray]) -> None:
        """Writes a point of each curve.

        Args:
            split: Name of the split.
            step: Step of the points.
            values: Values by the curve's tag.
        """

        def write() -> None:
            for tag, value in values.items():
                # TensorBoard draws no point for NaN; leaving it out ends the curve just as well.
                if math.isfinite(value):
                    tf.summary.scalar(tag, np.asarray(value, np.float32))

        self.put(split, step, write)

    def put(self, split: str, step: int, write: Callable[[], object]) -> None:
        """Calls `write`, which may call the functions of `tf.summary`."""
        try:
            # Arrays, here and for values: TensorFlow caches every Python number that it has seen.
            with self._writer(split).as_default(step=np.asarray(step, np.int64)):
                write()
        except tf.errors.OpError as error:
            self._writers.pop(split, None)
            reason = type(error).__name__
            warnings.warn(
                f"TensorBoard curves lack points at step {step}: {self.log_dir} cannot be "
                f"written, {reason}.",
                stacklevel=2,
            )

    def flush(self, step: int) -> None:
        """Flushes everything written to disk; `step` is for the warning if this fails."""
        for split, writer in list(self._writers.items()):
            self.put(split, step, writer.flush)

    def _writer(self, split: str) -> tf.summary.SummaryWriter:
        if split not in self._writers:
            event_files.put_in_order(self.log_dir / split)
            self._writers[split] = tf.summary.create_file_writer(str(self.log_dir / split))
        return self._writers[split]
