"""Keeps two preparations out of one folder."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

LOCK = "lock"


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Makes the folder where it is missing, and locks it for this process alone.

    The system takes the lock away when the process ends, however it ends; the file `LOCK` stays.

    Raises:
        ValueError: If another process works there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"Another process is preparing in {str(folder)!r}. Wait until it ends."
            ) from error
        yield
