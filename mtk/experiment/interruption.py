"""Asks a run to stop when the system asks the process to."""

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any, Self

import keras
import tensorflow as tf

from mtk.distribution import Workers

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class InterruptedRunError(Exception):
    """The run has stopped because it was asked to, and can go on."""


class Interruption:
    """Notes SIGTERM and SIGINT while it is entered; a second one ends the process at once.

    A handler in Python runs between two operations only, and one operation of TensorFlow may take
    long. So a thread listens to the pipe into which Python's own handler writes at once.

    Args:
        workers: Who stops together. By default this process alone.

    Attributes:
        asked: Name of the signal that came to this process, or None.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        self.workers = workers or Workers(tf.distribute.get_strategy())
        self.asked: str | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # Only the main thread may handle signals.
        receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        self._sender, self._wakeup = sender, signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _nothing) for number in _SIGNALS}
        self._listener = threading.Thread(target=self._listen, args=(receiver,), daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._handlers:
            return
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._sender)  # The listener reads the end of the pipe, and ends.
        self._listener.join()

    def agreed(self, *others: bool) -> tuple[bool, ...]:
        """Returns whether a signal has come to any worker, and whether any has set each flag.

        All workers ask together.
        """
        return self.workers.any(self.asked is not None, *others)

    def check(self) -> None:
        """Raises `InterruptedRunError` if a signal has come to any worker; all ask together."""
        if self.agreed()[0]:
            raise InterruptedRunError(self.asked)

    def _listen(self, receiver: int) -> None:
        with os.fdopen(receiver, "rb", buffering=0) as pipe:
            while byte := pipe.read(1):
                if byte[0] not in _SIGNALS:
                    continue
                if self.asked:
                    os._exit(128 + byte[0])
                self.asked = signal.Signals(byte[0]).name
                print(f"\n{self.asked}: stopping after this step", file=sys.stderr, flush=True)


class StopEvaluation(keras.callbacks.Callback):
    """Ends an evaluation between two batches when a signal has come.

    Args:
        interruption: What notes the signals.
    """

    def __init__(self, interruption: Interruption):
        super().__init__()
        self.interruption = interruption

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.interruption.check()


def _nothing(number: int, frame: Any) -> None:
    """Keeps the system from ending the process; the listener does the rest."""
