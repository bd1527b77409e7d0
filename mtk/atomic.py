"""Files and folders that are written whole or not at all.

What is written goes to a folder beside its place, `unfinished.<letters and digits>`, and is moved
when it is complete, if `mtk.places` allows.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtk import locks, places

_REPLACED = "replaced."  # what was there until the new one was complete


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a path for a file to write, and moves it to `path` when all is written.

    A file that is there already stays until then, and stays for good if an error is raised.

    Args:
        path: The file.

    Yields:
        A path of the same name in another folder.

    Raises:
        ValueError: If something is there that is no file; nothing is changed.
        OSError: If the file cannot be written.
    """
    target = places.file_target(path)
    with _beside(target) as new:
        yield new
        flush(new)
        new.replace(places.file_target(target))
        _flush_one(target.parent)


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Gives an empty folder to fill, and moves it to `path` when all is written.

    What is there already is removed then, if `mtk.places` allows; it stays if an error is raised.
    Of two that are written at once, the one that is complete last remains.

    Args:
        path: The folder.

    Yields:
        A folder of the same name in another one.

    Raises:
        ValueError: If something is there that is not to be replaced; nothing is changed.
        OSError: If the folder cannot be written.
    """
    with _beside(_checked_folder(path)) as new:
        new.mkdir()
        yield new
        places.mark(new)
        flush(new)
        target = places.followed(path)
        with _alone_in(target.parent):
            _put(new, target)
        _flush_one(target.parent)


def _checked_folder(path: str | Path) -> Path:
    """Returns where a folder goes; what another writer is just replacing is not looked at."""
    with _alone_in(places.followed(path).parent):
        return places.folder_target(path)


@contextlib.contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """Waits until no other writer moves folders in `parent`, where its file system knows locks."""
    if not parent.is_dir():  # The error comes from the writing, which names what was to be written.
        yield
        return
    descriptor = os.open(parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        locks.lock(descriptor, wait=True)
        yield
    finally:
        locks.unlock(descriptor)  # A forked process may keep a copy of the descriptor.
        os.close(descriptor)


@contextlib.contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """As `replacing_folder`, for a folder in whose place there is nothing; it gets no list.

    Raises:
        OSError: If something is there, or the folder cannot be written.
    """
    with _beside(path) as new:
        new.mkdir()
        yield new
        flush(new)
        new.rename(path)
        _flush_one(path.parent)


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file.

    Raises:
        ValueError: If a number is infinite or NaN: that is no JSON, and other languages refuse it.
    """
    text = json.dumps(content, indent=2, allow_nan=False)
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def flush(path: Path) -> None:
    """Brings a file, or a folder with all that is in it, to the disk."""
    for inner in path.rglob("*"):
        _flush_one(inner)
    _flush_one(path)


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Gives a path of the same name in a new folder beside `target`, which is removed at the end.

    The folder is locked, so that what killed processes have left can be told from it.
    """
    with _alone_in(target.parent):
        _tidy(target)
    try:
        place, descriptor = _new_place(target.parent)
    except OSError as error:
        said = f"{error.strerror}; nothing was changed"
        raise OSError(error.errno, said, str(target)) from error
    try:
        yield place / target.name
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        said = f"{error.strerror}; nothing was changed"  # Writing names no file.
        raise OSError(error.errno, said, str(target)) from error
    finally:
        try:
            with _alone_in(target.parent):
                _clear(place, target)
        finally:
            os.close(descriptor)


def _new_place(parent: Path) -> tuple[Path, int]:
    while True:
        place = parent / f"{_own()}{secrets.token_hex(4)}"
        place.mkdir()
        # Before it is locked, another process may take it for a left one, and remove it.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            if locks.lock(descriptor) is not False and place.exists():
                return place, descriptor
            os.close(descriptor)


def _own() -> str:
    """Returns the beginning of this host's names: another host's locks may not be seen here."""
    return places.UNFINISHED + hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]


def _tidy(target: Path) -> None:
    """Removes what killed processes have left of `target`, or puts back what they had moved."""
    known = {target.name, f"{_REPLACED}{target.name}"}
    for place in target.parent.glob(f"{_own()}????????"):
        with contextlib.suppress(OSError):  # It has just been removed, or it is another user's.
            if {entry.name for entry in place.iterdir()} - known:
                continue
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if locks.lock(descriptor):
                    _clear(place, target)
            finally:
                os.close(descriptor)


def _clear(place: Path, target: Path) -> None:
    replaced = place / f"{_REPLACED}{target.name}"
    if replaced.exists():
        if os.path.lexists(target):
            _remove_own(replaced)
        else:  # It was moved away, and the new one has not come.
            replaced.rename(target)
    _remove(place / target.name)
    with contextlib.suppress(OSError):  # What was added to an old folder meanwhile stays.
        place.rmdir()


def _put(new: Path, target: Path) -> None:
    """Moves a folder to its place: the only function that replaces one."""
    replaced = new.with_name(f"{_REPLACED}{target.name}")
    while True:
        places.folder_target(target)
        with contextlib.suppress(FileNotFoundError):
            target.rename(replaced)
        try:
            new.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _remove_own(replaced)  # Another process has been quicker: what it put is next.


def _remove_own(folder: Path) -> None:
    """Removes the files that are on the folder's list; others keep the folders that they are in."""
    own = places.own_files(folder) or set()
    marker = folder / places.MARKER
    for file in places.contents(folder):
        if file != marker and str(file.relative_to(folder)) in own:
            file.unlink()
    with contextlib.suppress(OSError):
        marker.unlink(missing_ok=True)
        for inner in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
            inner.rmdir()
        folder.rmdir()
    if folder.exists():
        warnings.warn(
            f"Files were added to a folder while it was being replaced. They are kept in: {folder}",
            stacklevel=2,
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
