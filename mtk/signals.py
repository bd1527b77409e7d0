"""Signals that ask a process to stop."""

import signal

# The last one comes when a terminal is closed.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def heeded() -> tuple[signal.Signals, ...]:
    """Returns those that ask this process to stop: no SIGHUP where `nohup` has it ignored."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(n for n in STOPPING if not (n is signal.SIGHUP and is_ignored))
