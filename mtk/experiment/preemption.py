"""Stops a run when the system asks the process to stop."""

import os
import signal
import sys
import threading
import time
from types import TracebackType
from typing import Any, Self

import keras
import tensorflow as tf

from mtk import signals
from mtk.distribution import Workers


class InterruptedRunError(Exception):
    """The run was stopped by a request, and can be continued."""


class Preemption:
    """Records `signals.STOPPING` inside its context; a second one except SIGHUP ends the process.

    A Python handler runs only between two operations, and a TensorFlow operation may take long. So
    a thread listens to the pipe into which Python's own handler writes at once.

    Several workers ask one another about once in `pace` seconds: a collective operation and its
    result after every step would make all of them wait.

    Args:
        workers: The workers that stop together; by default only this process.
        pace: Approximate maximum of seconds until all workers know of a signal to one of them.

    Attributes:
        asked: Name of the signal that this process received, or None.
    """

    def __init__(self, workers: Workers | None = None, pace: float = 1.0) -> None:
        self.workers = workers or Workers(tf.distribute.get_strategy())
        self.pace = pace
        self.asked: str | None = None
        self._agreed = False
        self._skipped = self._skip = 0  # Calls without asking: since the last ask; in all.
        self._asked_at = time.monotonic()
        self._handlers: dict[int, Any] = {}

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that prints."""
        return self.workers.is_chief

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self  # Only the main thread may handle signals.
        receiver, sender = os.pipe()
        os.set_blocking(sender, False)
        self._sender, self._wakeup = sender, signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _nothing) for number in signals.heeded()}
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
        os.close(self._sender)  # The listener reads the end of the pipe and stops.
        self._listener.join()

    def agreed(self, *others: bool) -> tuple[bool, ...]:
        """Returns whether any worker has received a signal, and whether any has set each flag.

        All workers call this together. Until they ask one another again, the answers are False.
        """
        if not self._agreed and self._skipped < self._skip:
            self._skipped += 1
            return (False,) * (1 + len(others))
        found = self.workers.any(self._agreed or self.asked is not None, *others)
        self._agreed = found[0]
        self._set_pace()
        return found

    def forget_pace(self) -> None:
        """Makes the next call ask: what follows may be slower; all workers call this together."""
        self._skipped = self._skip = 0

    def check(self) -> None:
        """Raises `InterruptedRunError` if a worker got a signal; all workers call this together."""
        if self.agreed()[0]:
            raise InterruptedRunError(self.asked)

    def _set_pace(self) -> None:
        """Sets, by the chief's clock, the number of calls until the workers ask again."""
        if self.workers.number == 1 or self.pace <= 0:
            return
        now = time.monotonic()
        each = (now - self._asked_at) / (1 + self._skipped)
        most = 2 * self._skip + 1  # Increases step by step: the first steps are slower.
        skip = min(most, int(self.pace / max(each, 1e-6)) - 1)
        told = self.workers.from_chief(max(0, skip).to_bytes(8, "big"))
        self._skip, self._skipped = int.from_bytes(told, "big"), 0
        self._asked_at = time.monotonic()

    def _listen(self, receiver: int) -> None:
        with os.fdopen(receiver, "rb", buffering=0) as pipe:
            while byte := pipe.read(1):
                if not signals.asks(byte[0], again=self.asked is not None):
                    continue
                if self.asked:
                    os._exit(128 + byte[0])
                self.asked = signal.Signals(byte[0]).name
                print(f"\n{self.asked}: stopping after this step", file=sys.stderr, flush=True)


class StopEvaluation(keras.callbacks.Callback):
    """Stops an evaluation between two batches after a signal.

    Args:
        preemption: The handler of signals.
    """

    def __init__(self, preemption: Preemption):
        super().__init__()
        self.preemption = preemption

    def on_test_begin(self, logs: Any = None) -> None:
        del logs
        self.preemption.forget_pace()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self.preemption.check()


def _nothing(number: int, frame: Any) -> None:
    """Keeps the signal from ending the process; the listener does the rest."""
