"""Temporary folders that do not stay behind, not even those of killed processes."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mtk.experiment.folder_lock import FolderLock

_LOCK = "lock"  # held by the process whose folder it is


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Makes a folder that is removed at the end.

    Folders of this prefix whose processes were killed are removed now.

    Args:
        prefix: Beginning of the folder's name.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_LOCK}"):
        with contextlib.suppress(OSError, ValueError):  # It is in use, or not ours.
            _remove(_locked(path.parent))
    lock = _new_folder(prefix)
    try:
        yield lock.path.parent
    finally:
        _remove(lock)


def _new_folder(prefix: str) -> FolderLock:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        # Before it is locked, another process may take it for a left one, and remove it.
        with contextlib.suppress(FileNotFoundError, ValueError):
            return _locked(path)


def _locked(folder: Path) -> FolderLock:
    lock = FolderLock(folder / _LOCK)
    lock.acquire()
    return lock


def _remove(lock: FolderLock) -> None:
    # Where the file system is slow to forget a file, that is no failure of the run.
    shutil.rmtree(lock.path.parent, ignore_errors=True)
    lock.release()
