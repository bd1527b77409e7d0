"""What a process has to work with: cores, and room on a disk."""

import errno
import os
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def cpu_count() -> int:
    """Returns the number of cores that this process may use, which can be fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_full(error: BaseException | None) -> bool:
    """Tells whether an error, or one that led to it, says that there is no room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__  # gin raises its copies `from None`.
    return False


def exit_code(error: BaseException) -> int:
    """Returns the exit code of a command that an error ends: a full disk is no fault of its input.

    The same command goes on when there is room.
    """
    return 75 if is_full(error) else 2


def free(path: Path) -> int:
    """Returns the bytes that are free where `path` is, or will be.

    Raises:
        OSError: If the disk cannot be asked.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def require(path: Path, needed: int, what: str) -> None:
    """Checks that there is room before it is used up.

    Args:
        path: What will be written, or its folder.
        needed: Bytes.
        what: What needs them, in words.

    Raises:
        OSError: If fewer are free.
    """
    if free(path) < needed:
        raise OSError(
            errno.ENOSPC,
            f"Not enough disk space for {what}: about {needed / 1e6:.1f} MB are needed",
        )
