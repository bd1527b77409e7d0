"""The signals that ask a sweep to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def noted_signals() -> Iterator[list[int]]:
    """Gives a list of the SIGTERM and SIGINT that come; other threads than the main one get none.

    One asks for checkpoints, more for an end at once.
    """
    received: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    numbers = _SIGNALS if is_main else ()
    before = {n: signal.signal(n, lambda number, _: received.append(number)) for n in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
