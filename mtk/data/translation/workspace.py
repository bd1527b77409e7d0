"""The working folder of a preparation, in which it resumes after a kill."""

import contextlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtk import atomic, locks, places
from mtk.data.translation.corpus import SPLITS
from mtk.data.translation.dropped import DroppedError
from mtk.data.translation.manifest import VOCABULARY

_LOCK = "lock"
_PLAN = "plan.json"
_FILES = (_PLAN, _LOCK, VOCABULARY)
# The finished corpus, the chunks of a split and language, and unfinished files of `atomic`.
_OWN = re.compile(rf"corpus|({'|'.join(SPLITS)})\..+|{re.escape(places.UNFINISHED)}[0-9a-f]{{12}}")
MODIFIED = "modified"  # In a plan: the modification time of each file by path.


@contextlib.contextmanager
def workspace(folder: Path, plan: Mapping[str, Any], worth: str) -> Iterator[Path]:
    """Opens the folder exclusively for this process.

    A ValueError inside removes the folder, since results of bad input are useless for a corrected
    plan. A DroppedError does not, since the work is done.

    Args:
        folder: A new folder, or one of an unfinished preparation.
        plan: The settings and inputs of the preparation.
        worth: Name of the first file worth keeping. If it is missing, any plan may start over.

    Yields:
        The folder.

    Raises:
        ValueError: If another process works there, or the folder belongs to another plan.
    """
    new = [above for above in folder.absolute().parents if not above.exists()]
    with _exclusive(folder):
        path = folder / _PLAN
        if path.exists() and (folder / worth).exists():
            check_same(json.loads(path.read_text(encoding="utf-8")), plan, folder)
        else:
            atomic.write_json(path, plan)
        try:
            yield folder
        except DroppedError:
            raise  # The work is done, and useful if the user allows the skipped pairs.
        except ValueError:
            remove(folder)
            with contextlib.suppress(OSError):  # The folder is not empty.
                for above in new:
                    above.rmdir()
            raise


def remove(folder: Path) -> None:
    """Removes the files of a preparation; anything else in the folder is kept."""
    for entry in folder.glob("*"):
        if entry.name in _FILES:
            entry.unlink()
        elif _OWN.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
    with contextlib.suppress(OSError):  # It does not exist, or is not empty.
        folder.rmdir()


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Checks that a folder belongs to the wanted settings.

    Raises:
        ValueError: If it does not; the message lists the differences.
    """
    wanted = json.loads(json.dumps(wanted))  # As read from a file: lists, not tuples.
    changes = "\n".join(_changes(found, wanted))
    if changes:
        raise ValueError(
            f"{str(folder)!r} was prepared from different inputs:\n"
            f"{changes}\n"
            "Remove it to start again, or give another folder."
        )


def _changes(found: Any, wanted: Any, name: str = "") -> Iterator[str]:
    """Yields a line for each setting, and each file, that differs."""
    if found == wanted:
        return
    if name.startswith(f"{MODIFIED}."):
        yield f"  the file {name.removeprefix(f'{MODIFIED}.')} has changed since then"
    elif isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            inner = f"{name}.{key}" if name else key
            yield from _changes(found.get(key), wanted.get(key), inner)
    elif isinstance(found, list) and isinstance(wanted, list):
        gone = [item for item in found if item not in wanted]
        new = [item for item in wanted if item not in found]
        yield f"  {name}: {gone or found} there, {new or wanted} now"
    else:
        yield f"  {name}: {found} there, {wanted} now"


@contextlib.contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Creates the folder if missing, and locks it for this process.

    The system releases the lock when the process ends in any way; the file `_LOCK` remains.

    Raises:
        ValueError: If another process works there, or the folder was not created by this function.
        OSError: If the folder cannot be written.
    """
    _check_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = locks.open_file(folder / _LOCK)
    try:
        free = locks.lock(descriptor)
        if free is None:
            warnings.warn(
                f"The file system of {folder} does not support locks: make sure that no second "
                "process prepares data there.",
                stacklevel=3,
            )
        if free is False:
            raise ValueError(
                f"Another process is preparing data in {str(folder)!r}. Wait until it ends."
            )
        yield
    finally:
        os.close(descriptor)


def _check_own(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(
            f"The preparation works in {str(folder)!r}, but this is a symbolic link or a file. "
            "Move it away, or give another output folder."
        )
    if folder.exists() and not (folder / _LOCK).exists() and any(folder.iterdir()):
        raise ValueError(
            f"The preparation works in {str(folder)!r}, which contains something else; nothing "
            "was changed. Move it away, or give another output folder."
        )
