"""Where a preparation writes, and how two of them are kept out of one folder."""

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

from mtk import locks, places

LOCK = "lock"


def destination(folder: str) -> Path:
    """Returns the path of a folder to prepare, with `~` and links followed.

    Raises:
        ValueError: If a new folder cannot be put there. One that holds something is not looked at.
    """
    path = Path(os.path.realpath(Path(folder).expanduser()))
    if not path.is_dir() or not any(path.iterdir()):
        places.check_folder(path)
    return path


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Makes the folder where it is missing, and locks it for this process alone.

    The system takes the lock away when the process ends, however it ends; the file `LOCK` stays.

    Raises:
        ValueError: If another process works there, or the folder is not one that this function has
            made.
        OSError: If it cannot be written.
    """
    _check_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = locks.open_file(folder / LOCK)
    try:
        free = locks.lock(descriptor)
        if free is None:
            warnings.warn(
                f"The file system of {folder} knows no locks: see to it yourself that no second "
                "process prepares there.",
                stacklevel=3,
            )
        if free is False:
            raise ValueError(
                f"Another process is preparing in {str(folder)!r}. Wait until it ends."
            )
        yield
    finally:
        os.close(descriptor)


def _check_own(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(
            f"The preparation works in {str(folder)!r}, where there is a link or a file. Move it "
            "away, or name another folder to prepare."
        )
    if folder.exists() and not (folder / LOCK).exists() and any(folder.iterdir()):
        raise ValueError(
            f"The preparation works in {str(folder)!r}, which holds something else; nothing was "
            "changed. Move it away, or name another folder to prepare."
        )
