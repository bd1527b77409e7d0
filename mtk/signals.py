"""Signals that ask a process to stop."""

import signal

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
