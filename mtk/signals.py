"""Signals that ask a process to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator

# The last one comes when a terminal is closed.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def heeded() -> tuple[signal.Signals, ...]:
    """Returns those that ask this process to stop: no SIGHUP where `nohup` has it ignored."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(n for n in STOPPING if not (n is signal.SIGHUP and is_ignored))


def asks(number: int, again: bool) -> bool:
    """Returns whether a signal asks this process to stop.

    Args:
        number: Of the signal.
        again: Whether one has asked before. Then SIGHUP says nothing new: a terminal that is closed
            sends several, by itself and by its shell.
    """
    return number in STOPPING and not (again and number == signal.SIGHUP)


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Gives a list of the `STOPPING` that come; other threads than the main one get none.

    One asks for checkpoints, more for an end at once.
    """
    received: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    numbers = heeded() if is_main else ()

    def note(number: int, frame: object) -> None:
        del frame
        if asks(number, again=bool(received)):
            received.append(number)

    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
