"""Reads files of a study that may be damaged by a crash, or come from others.

Only regular files of a bounded size are read, and no link is followed: a FIFO would never end,
and a link may lead out of the study.
"""

import contextlib
import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtk.errors import DamagedError, StudyError

_MEBIBYTE = 1 << 20
_LARGEST = 16 * _MEBIBYTE
_LARGEST_LIST = 256 * _MEBIBYTE  # Of a `study.json`.
_LARGEST_LOG = 2048 * _MEBIBYTE
_LONGEST_LINE = _MEBIBYTE
# Files that identify a run folder.
RUN_FILES = ("config.gin", "result.json", "manifest.json")


def text(path: Path, most: int = _LARGEST) -> str:
    """Returns the text of a file.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        DamagedError: If there is no such file, or it is too large, or it cannot be read as text.
    """
    try:
        with opened(path, most) as file:
            size = os.fstat(file.fileno()).st_size  # `most` would be allocated at once.
            return file.read(min(most, size)).decode("utf-8")
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DamagedError(f"{path.name} is not a text file") from None


def lines(path: Path) -> Iterator[str]:
    """Yields the lines of a log; invalid UTF-8 is replaced.

    Raises:
        DamagedError: If it, or a line of it, is too large, or it is not a file.
        FileNotFoundError: If it does not exist.
    """
    with opened(path, _LARGEST_LOG) as file:
        while line := file.readline(_LONGEST_LINE + 1):
            if len(line) > _LONGEST_LINE:
                raise DamagedError(f"{path.name} has a line of more than {_LONGEST_LINE} bytes")
            yield line.decode("utf-8", "replace")


def json_lines(path: Path, mention: str = "") -> Iterator[dict[str, Any]]:
    """Yields the JSON objects in the lines of a log.

    Invalid lines, which a killed process or a full disk leaves, are skipped.

    Args:
        path: The log.
        mention: Only lines with this text are read.

    Raises:
        DamagedError: If it, or a line of it, is too large, or it is not a file.
        FileNotFoundError: If it does not exist.
    """
    for line in lines(path):
        if mention in line:
            with contextlib.suppress(DamagedError):
                yield parsed(line.encode(), path.name)


def digest(path: Path) -> str:
    """Returns the SHA-256 of a log.

    Raises:
        DamagedError: If it is too large, or not a file.
        FileNotFoundError: If it does not exist.
    """
    with opened(path, _LARGEST_LOG) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_object(path: Path, most: int = _LARGEST) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        DamagedError: If there is no such file, or it holds something else.
    """
    return parsed(text(path, most).encode(), path.name)


def with_digest(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an object in the form that `whole` reads: with a hash of its content."""
    text = json.dumps(content, sort_keys=True)
    return {**content, "digest": hashlib.sha256(text.encode()).hexdigest()}


def whole(path: Path) -> dict[str, Any]:
    """Returns the JSON object in a file that was written with its digest, without the digest.

    Raises:
        DamagedError: If there is no such file, or it was changed.
    """
    found = json_object(path)
    content = {name: value for name, value in found.items() if name != "digest"}
    if with_digest(content) != found:
        raise DamagedError(f"{path.name} was changed after it was written")
    return content


def parsed(given: bytes, name: str) -> dict[str, Any]:
    """Returns the JSON object in a text.

    Args:
        given: The text, in UTF-8.
        name: Name of its file.

    Raises:
        DamagedError: If it is something else.
    """
    try:
        content = json.loads(given.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{name} does not contain a JSON object")
    return content


def opened(path: Path, most: int) -> io.BufferedReader:
    """Opens a regular file of at most `most` bytes, without following links or waiting for pipes.

    Raises:
        DamagedError: If it is something else, or too large.
        OSError: If it cannot be opened.
    """
    _check(path, path.lstat(), most)
    # The file may have been replaced between both checks: do not wait for a pipe.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check(path, os.fstat(file.fileno()), most)
    except DamagedError:
        file.close()
        raise
    return file


def _check(path: Path, found: os.stat_result, most: int) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise DamagedError(f"{path.name} is a symbolic link; replace it by the file itself")
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a device or a pipe"
        raise DamagedError(f"{path.name} is {what}; expected a file")
    if found.st_size > most:
        raise DamagedError(f"{path.name} has {found.st_size} bytes; at most {most} are allowed")


def study_list(folder: Path) -> dict[str, Any]:
    """Returns the JSON object in the `study.json` of a study.

    A folder without the file is a study too, if it holds `runs/`; then the object is empty.

    Raises:
        StudyError: If the folder is not a study, or the file is damaged.
    """
    file = folder / "study.json"
    if not file.is_symlink() and not file.exists():
        if (folder / "runs").is_dir():
            return {}
        raise StudyError(
            f"{str(folder)!r} is not a study folder: it has neither a study.json nor a folder "
            "runs/."
        )
    try:
        return json_object(file, _LARGEST_LIST)
    except DamagedError as error:
        raise StudyError(f"{str(file)!r} is damaged: {error}. Run the sweep again.") from None


def holding(folder: Path, names: Sequence[str]) -> list[Path]:
    """Returns the subfolders, or else the folder, that have a file of one of these names."""

    def holds(path: Path) -> bool:
        return any((path / name).is_file() for name in names)

    return sorted(filter(holds, folder.iterdir())) or [*filter(holds, [folder])]
