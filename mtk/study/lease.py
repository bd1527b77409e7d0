"""Keeps two processes, on one or several hosts, from doing the same run."""

import contextlib
import os
import socket
import threading
from pathlib import Path

from mtk import locks

_HEARTBEAT = 15.0  # seconds
_TIMEOUT = 8 * _HEARTBEAT


class Lease:
    """The exclusive right to do a run, which is lost when the process ends, however it ends.

    On one host, a system lock decides. Hosts that share a file system may not see one another's
    locks, and some file systems support none. So the owner also writes its name into the file and
    touches it every 15 s, and the lease counts as taken until two minutes after the last touch, by
    the clock of the file system.

    Args:
        path: The file; created if it is missing, and never removed.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None
        self._released = threading.Event()

    def acquire(self) -> bool:
        """Takes the lease if it is free; returns whether it was taken."""
        descriptor = _open_if_free(self.path)
        if descriptor is None:
            return False
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{socket.gethostname()} {os.getpid()}".encode(), 0)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._heartbeats = threading.Thread(target=self._heartbeat, args=(descriptor,), daemon=True)
        self._heartbeats.start()
        return True

    def release(self) -> None:
        """Releases the lease, if it was taken."""
        if self._descriptor is not None:
            self._released.set()
            self._heartbeats.join()
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _heartbeat(self, descriptor: int) -> None:
        while not self._released.wait(_HEARTBEAT):
            with contextlib.suppress(OSError):  # The file system may be unavailable for a while.
                os.utime(descriptor)


def is_taken(path: Path) -> bool:
    """Returns whether any process holds the lease at `path`."""
    if not path.exists():
        return False
    descriptor = _open_if_free(path, shared=True)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def _open_if_free(path: Path, shared: bool = False) -> int | None:
    """Returns a descriptor of the file, locked if possible, or None if it is taken."""
    descriptor = locks.open_file(path)
    try:
        free = locks.lock(descriptor, shared)
    except OSError:
        os.close(descriptor)
        raise
    if free is False or _owner_lives(path, descriptor, free is True):
        os.close(descriptor)
        return None
    return descriptor


def _owner_lives(path: Path, descriptor: int, locked: bool) -> bool:
    """Returns whether the file's content shows a live owner, on another host or without locks."""
    owner = os.pread(descriptor, 300, 0).decode(errors="replace").split()
    if len(owner) != 2 or (locked and owner[0] == socket.gethostname()):
        return False
    return _now(path) - os.fstat(descriptor).st_mtime < _TIMEOUT


def _now(path: Path) -> float:
    """Returns the time by the clock of the file system that holds `path`."""
    probe = path.with_name(f"clock.{socket.gethostname()}")
    probe.touch()
    return probe.stat().st_mtime
