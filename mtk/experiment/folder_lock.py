"""Keeps two processes out of one run folder."""

import contextlib
import os
import warnings
from pathlib import Path

from mtk import locks


class FolderLock:
    """A lock that the system releases when the process ends, however it ends.

    Args:
        path: File to lock; created if it is missing, and never removed.
    """

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            ValueError: If another process, or another run of this one, holds it.
            OSError: If the file cannot be written, or is a link.
        """
        descriptor = locks.open_file(self.path)
        free = locks.lock(descriptor)
        if free is False:
            owner = os.pread(descriptor, 20, 0).decode().strip()
            os.close(descriptor)
            raise ValueError(
                f"The run folder {str(self.path.parent.parent)!r} is in use by process "
                f"{owner or '?'}. Wait until that process ends, or give another folder."
            )
        if free is None:
            warnings.warn(
                f"The file system of {self.path} does not support locks: make sure that no "
                "second process uses this run folder.",
                stacklevel=2,
            )
        self._descriptor = descriptor
        with contextlib.suppress(OSError):  # On a full disk, others do not see the owner.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Releases the lock, if it is held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
