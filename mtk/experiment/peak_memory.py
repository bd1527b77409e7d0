"""Measures peak memory."""

from pathlib import Path

import tensorflow as tf

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # See proc(5).


class Peak:
    """Measures from its creation on: the first GPU if there is one, else this process.

    Attributes:
        device: Name of the measured device.
    """

    def __init__(self) -> None:
        self._gpu = bool(tf.config.list_logical_devices("GPU"))
        self.device = "of the first GPU" if self._gpu else "of the whole process"
        self._before = self._reset()

    def read(self) -> tuple[int, int] | None:
        """Returns the bytes at the peak and at the start; None if they are not reported."""
        if self._before is None:
            return None
        if self._gpu:
            return tf.config.experimental.get_memory_info("GPU:0")["peak"], self._before
        return _status("VmHWM"), self._before

    def _reset(self) -> int | None:
        if self._gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
            return int(tf.config.experimental.get_memory_info("GPU:0")["current"])
        try:
            _RESET.write_text(_RESET_PEAK)
            return _status("VmRSS")
        except OSError:  # Not Linux, or a container that forbids it.
            return None


def _status(name: str) -> int:
    """Returns a number of bytes from the system's status of this process."""
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return 1024 * int(found)
