"""Temporary folders that are always removed, even those of killed processes."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mtk.experiment.folder_lock import FolderLock

_LOCK = "lock"  # held by the process that owns the folder


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Creates a folder that only this user can read and write, and removes it at the end.

    Folders with this prefix whose processes were killed are removed at the start.

    Args:
        prefix: Beginning of the folder's name.

    Raises:
        ValueError: If another user owns the path of this user's temporary folders.
    """
    place = _own_place()
    for path in place.glob(f"{prefix}*/{_LOCK}"):
        with contextlib.suppress(OSError, ValueError):  # It is in use.
            _remove(_locked(path.parent))
    lock = _new_folder(prefix, place)
    try:
        yield lock.path.parent
    finally:
        _remove(lock)


def _own_place() -> Path:
    """Returns a temporary folder to which no other user can write."""
    place = Path(tempfile.gettempdir()) / f"mtk-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    about = place.lstat()  # A link may point to another user's folder.
    private = stat.S_ISDIR(about.st_mode) and not about.st_mode & 0o077
    if not private or about.st_uid != os.getuid():
        raise ValueError(
            f"Temporary files would go to {str(place)!r}, but this is not a folder that only "
            "you can use; nothing was changed. Set the environment variable TMPDIR to your own "
            "folder."
        )
    return place


def _new_folder(prefix: str, place: Path) -> FolderLock:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        # Before it is locked, another process may consider it abandoned, and remove it.
        with contextlib.suppress(FileNotFoundError, ValueError):
            return _locked(path)


def _locked(folder: Path) -> FolderLock:
    lock = FolderLock(folder / _LOCK)
    lock.acquire()
    return lock


def _remove(lock: FolderLock) -> None:
    # A file system that is slow to remove a file must not fail the run.
    shutil.rmtree(lock.path.parent, ignore_errors=True)
    lock.release()
