"""Signals that ask a process to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator

# The last one is sent when a terminal is closed.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def heeded() -> tuple[signal.Signals, ...]:
    """Returns the signals that ask this process to stop: no SIGHUP if `nohup` ignores it."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(n for n in STOPPING if not (n is signal.SIGHUP and is_ignored))


def asks(number: int, again: bool) -> bool:
    """Returns whether a signal asks this process to stop.

    Args:
        number: Number of the signal.
        again: Whether an earlier signal has asked. Then SIGHUP is ignored: closing a terminal
            sends several, from the terminal and from its shell.
    """
    return number in STOPPING and not (again and number == signal.SIGHUP)


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Yields a list of the received `STOPPING` signals, which stays empty in other threads.

    One signal asks for checkpoints, more ask for an immediate end.
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
