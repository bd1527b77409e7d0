"""Resources of a process: cores and disk space."""

import errno
import os
import shutil
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def cpu_count() -> int:
    """Returns the number of cores that this process may use, which can be fewer than all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_full(error: BaseException | None) -> bool:
    """Returns whether an error, or one of its causes, reports a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__  # gin raises copies of errors `from None`.
    return False


def exit_code(error: BaseException) -> int:
    """Returns the exit code of a command that failed: a full disk is not an error of its input.

    The same command continues when there is free space.
    """
    return 75 if is_full(error) else 2


def free(path: Path) -> int:
    """Returns the free bytes on the disk of an existing or future `path`.

    Raises:
        OSError: If the disk cannot be queried.
    """
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free


def require(path: Path, needed: int, what: str) -> None:
    """Checks that there is enough free space.

    Args:
        path: What will be written, or its folder.
        needed: Number of bytes.
        what: Description of what needs them.

    Raises:
        OSError: If fewer are free.
    """
    if free(path) < needed:
        raise OSError(
            errno.ENOSPC,
            f"Not enough disk space for {what}: about {needed / 1e6:.1f} MB are needed",
        )
