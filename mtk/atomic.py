"""Atomic writing of files and folders.

Output is written to a folder next to its path, `unfinished.<letters and digits>`, and moved when it
is complete, if `mtk.places` allows.
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

_REPLACED = "replaced."  # prefix of the old folder until the new one is complete


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a path for a file to write, and moves the file to `path` when it is complete.

    An existing file is kept until then, and also if an error is raised.

    Args:
        path: The file.

    Yields:
        A path of the same name in another folder.

    Raises:
        ValueError: If something other than a file exists at the path; nothing is changed.
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
    """Yields an empty folder to fill, and moves it to `path` when it is complete.

    An existing folder is removed then, if `mtk.places` allows; it is kept if an error is raised.
    If two are written at once, the one that is completed last remains.

    Args:
        path: The folder.

    Yields:
        A folder of the same name in another folder.

    Raises:
        ValueError: If something exists that must not be replaced; nothing is changed.
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
    """Returns the target of a folder; one that another writer is replacing is not checked."""
    with _alone_in(places.followed(path).parent):
        return places.folder_target(path)


@contextlib.contextmanager
def _alone_in(parent: Path) -> Iterator[None]:
    """Waits until no other writer moves folders in `parent`, if the file system supports locks."""
    if not parent.is_dir():  # The writing raises the error, which names the target.
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
    """Like `replacing_folder`, for a path that does not exist yet; the folder gets no list.

    Raises:
        OSError: If the path exists, or the folder cannot be written.
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
        ValueError: If a number is infinite or NaN, which JSON does not allow.
    """
    text = json.dumps(content, indent=2, allow_nan=False)
    with replacing(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def flush(path: Path) -> None:
    """Flushes a file, or a folder with all its contents, to disk."""
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
    """Yields a path of the same name in a new folder next to `target`, removed at the end.

    The folder is locked, to distinguish it from those that killed processes have left.
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
        said = f"{error.strerror}; nothing was changed"  # Errors of writing name no file.
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
        # Before it is locked, another process may consider it abandoned, and remove it.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            if locks.lock(descriptor) is not False and place.exists():
                return place, descriptor
            os.close(descriptor)


def _own() -> str:
    """Returns the prefix of this host's names: locks of other hosts may not be visible here."""
    return places.UNFINISHED + hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]


def _tidy(target: Path) -> None:
    """Removes what killed processes have left of `target`, or restores what they had moved."""
    known = {target.name, f"{_REPLACED}{target.name}"}
    for place in target.parent.glob(f"{_own()}????????"):
        with contextlib.suppress(OSError):  # It was just removed, or belongs to another user.
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
        else:  # It was moved away, and there is no new one.
            replaced.rename(target)
    _remove(place / target.name)
    with contextlib.suppress(OSError):  # Files added to an old folder meanwhile are kept.
        place.rmdir()


def _put(new: Path, target: Path) -> None:
    """Moves a folder to its target; the only function that replaces a folder."""
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
            _remove_own(replaced)  # Another process was faster: replace its folder next.


def _remove_own(folder: Path) -> None:
    """Removes the files on the folder's list; folders that contain other files are kept."""
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
