"""Files and folders that are written whole or not at all, and take nobody else's place.

What is written goes to a folder beside its place, `unfinished.<letters and digits>`, and is moved
when it is complete. A file only takes the place of a file. A folder only takes that of an empty
one, or of one with a list of its files, `mtk-files.json`, which this module has written: files that
are not on the list are somebody else's, and stay where they are.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mtk import disk, locks

MARKER = "mtk-files.json"
UNFINISHED = "unfinished."
_REPLACED = "replaced."  # what was there until the new one was complete
_MOST_NAMED = 3


def check_file(path: str | Path) -> Path:
    """Checks, before the work is done, that a file can be written.

    Args:
        path: The file. A link is followed: what it leads to is written, and the link stays.

    Returns:
        The file that is written; the folders above it may still be missing.

    Raises:
        ValueError: If something else is there, or the folder above cannot be written.
    """
    target = _file(path)
    check_writable(target.parent)
    return target


def check_folder(path: str | Path) -> Path:
    """Checks, before the work is done, that a folder can be written in the place of `path`.

    Args:
        path: The folder. A link is followed: the folder that it leads to is replaced, and the link
            stays.

    Returns:
        The folder that is written; those above it may still be missing.

    Raises:
        ValueError: If something is there that this package has not written, or that cannot be
            moved, or the folder above cannot be written.
    """
    target = _folder(path)
    check_writable(target.parent)
    return target


def check_writable(folder: Path) -> None:
    """Checks that a folder, or the first above it that is there, can be written.

    Room is another matter: what a full disk cannot take now may find room later.

    Raises:
        ValueError: If it cannot.
    """
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.lexists(p))
    try:
        # Only trying tells: not every folder that says so can be written.
        tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=there).cleanup()
    except OSError as error:
        if disk.is_full(error):
            return
        raise ValueError(
            f"{str(there)!r} is not a folder that can be written ({error.strerror}); nothing was "
            "changed. Name another place."
        ) from error


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
    target = _file(path)
    with _beside(target) as new:
        yield new
        flush(new)
        new.replace(_file(target))
        _flush_one(target.parent)


@contextlib.contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Gives an empty folder to fill, and moves it to `path` when all is written.

    What is there already is removed then, if `check_folder` allows; it stays if an error is raised.
    Of two that are written at once, the one that is complete last remains.

    Args:
        path: The folder.

    Yields:
        A folder of the same name in another one.

    Raises:
        ValueError: If something is there that is not to be replaced; nothing is changed.
        OSError: If the folder cannot be written.
    """
    target = _folder(path)
    with _beside(target) as new:
        new.mkdir()
        yield new
        names = sorted(str(file.relative_to(new)) for file in _files(new))
        content = json.dumps({"written by": "mtk", "files": names}, indent=1)
        (new / MARKER).write_text(content + "\n", encoding="utf-8")
        flush(new)
        _put(new, target)
        _flush_one(target.parent)


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


def _file(path: str | Path) -> Path:
    """Returns where a file goes, if it may."""
    target = _followed(path)
    if target.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; nothing was changed. Name a file to write.")
    if os.path.lexists(target) and not stat.S_ISREG(target.lstat().st_mode):
        raise ValueError(
            f"{str(path)!r} is a device or a pipe; nothing was changed. Name a file to write."
        )
    _check_movable(path, target)
    return target


def _folder(path: str | Path) -> Path:
    """Returns where a folder goes, if it may."""
    target = _followed(path)
    if os.path.lexists(target) and not target.is_dir():
        raise ValueError(f"{str(path)!r} is a file; nothing was changed. Name a folder to write.")
    if target.is_dir():
        if Path.cwd().resolve().is_relative_to(target.resolve()):
            raise ValueError(
                f"{str(path)!r} is, or holds, the working directory, which cannot be replaced; "
                "nothing was changed. Name a new folder, such as one inside it."
            )
        _check_movable(path, target)
        _check_own(path, target)
    return target


def _followed(path: str | Path) -> Path:
    target = Path(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        target.lstat()  # Raises what no name can be, such as one that is too long.
    if target.is_symlink():
        target = Path(os.path.realpath(target))
        if target.is_symlink():
            raise ValueError(f"{str(path)!r} is a link that leads back to itself.")
    return target


def _check_movable(path: str | Path, target: Path) -> None:
    if target.exists() and (os.path.ismount(target) or str(target.resolve()) in _mounts()):
        raise ValueError(
            f"{str(path)!r} is a mount point, which cannot be replaced; nothing was changed. Name "
            "a new file or folder, such as one inside it."
        )


def _mounts() -> set[str]:
    """Returns the mount points, where the system lists them: some look like any other folder."""
    try:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return set()
    # Spaces and the like are written as "\040".
    found = (line.split()[4].decode("unicode_escape").encode("latin-1") for line in lines)
    return set(map(os.fsdecode, found))


def _check_own(path: str | Path, folder: Path) -> None:
    """Checks that a folder holds nothing that would be lost."""
    files = _files(folder)
    if not files:
        return
    own = _listed(folder)
    if own is None:
        raise ValueError(
            f"{str(path)!r} holds {_some(files, folder)}, and no list of files ({MARKER}) that "
            "this program has written; nothing was changed. Name a new or an empty folder."
        )
    strange = [file for file in files if str(file.relative_to(folder)) not in own]
    if strange:
        raise ValueError(
            f"{str(path)!r} holds {_some(strange, folder)}, which this program has not written; "
            "nothing was changed. Move it away, or name another folder."
        )


def _listed(folder: Path) -> set[str] | None:
    """Returns the files that this module has written to a folder; None if there is no list."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return {str(name) for name in content["files"]} | {MARKER}
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _files(folder: Path) -> list[Path]:
    """Returns everything in a folder and its folders, but these."""
    return sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())


def _some(files: list[Path], folder: Path) -> str:
    names = ", ".join(repr(str(file.relative_to(folder))) for file in files[:_MOST_NAMED])
    more = len(files) - _MOST_NAMED
    return f"{names} and {more} more" if more > 0 else names


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Gives a path of the same name in a new folder beside `target`, which is removed at the end.

    The folder is locked, so that what killed processes have left can be told from it.
    """
    _tidy(target)
    try:
        place, descriptor = _new_place(target.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    try:
        yield place / target.name
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error  # Writing names no file.
    finally:
        try:
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
    return UNFINISHED + hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]


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
        _folder(target)
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
    """Removes the files that this module has listed; others keep the folders that they are in."""
    own = _listed(folder) or set()
    marker = folder / MARKER
    for file in _files(folder):
        if file != marker and str(file.relative_to(folder)) in own:
            file.unlink()
    with contextlib.suppress(OSError):
        marker.unlink(missing_ok=True)
        for inner in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
            inner.rmdir()
        folder.rmdir()
    if folder.exists():
        warnings.warn(
            f"Files were added to a folder while it was replaced. They are kept: {folder}",
            stacklevel=2,
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
