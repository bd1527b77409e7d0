"""Locks that the system releases when their process ends, however it ends."""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
# The last one is of network file systems, for folders: they only lock writable files.
_UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF)


def open_file(path: Path) -> int:
    """Opens a file to lock, and creates it if it is missing.

    Anyone who can read a file can lock it, so only its owner may read it. A link is not followed,
    since its target may belong to others.

    Args:
        path: The file.

    Returns:
        A descriptor, which the caller closes.

    Raises:
        OSError: If it is a link or not a regular file, or cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(
            error.errno, "A lock must be a file, not a symbolic link. Remove it", str(path)
        ) from error
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "A lock must be a regular file. Remove this one", str(path))
    if about.st_mode & 0o077:  # Created by an earlier version.
        with contextlib.suppress(OSError):  # Another user's file, or a file system without modes.
            os.fchmod(descriptor, 0o600)
    return descriptor


def lock(descriptor: int, shared: bool = False, wait: bool = False) -> bool | None:
    """Locks a file or a folder; closing the descriptor unlocks it.

    Args:
        descriptor: Descriptor of the opened file.
        shared: Whether others may have shared locks at the same time.
        wait: Whether to wait until the lock is free.

    Returns:
        Whether the lock was free; None if the file system does not support locks.

    Raises:
        OSError: If the file system fails.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


def unlock(descriptor: int) -> None:
    """Unlocks a file or a folder at once, even if others have a copy of the descriptor."""
    with contextlib.suppress(OSError):  # The file system does not support locks.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
