"""Reads files with bounded memory, whatever they contain."""

import gzip
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

LONGEST_LINE = 1 << 20  # bytes
MOST_BYTES = 1 << 30  # of an array; MNIST's largest has 47 million
MOST_GROWTH = 100  # largest expansion of a compressed file; text expands about fivefold
_MOST_TEXT = 1 << 26  # bytes that a text may always have, however small its file
_AT_ONCE = 1 << 20  # bytes

Opened = IO[bytes] | gzip.GzipFile


def opened(path: Path) -> IO[bytes]:
    """Opens a file to read; rejects devices and pipes.

    Raises:
        ValueError: If it is not a regular file.
        OSError: If it cannot be opened.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a device or a pipe"
        raise ValueError(f"{path} is {what}, not a file.")
    return path.open("rb")


def read(file: Opened, most: int, name: object) -> bytes:
    """Reads a file to its end.

    Args:
        file: The opened file, which may be compressed.
        most: Largest size in bytes.
        name: Name of the file in errors.

    Raises:
        ValueError: If the file is larger.
    """
    content = read_up_to(file, most + 1)
    if len(content) > most:
        raise ValueError(f"{name} has more than {most:,} bytes, the maximum for this kind of file.")
    return content


def read_up_to(file: Opened, most: int) -> bytes:
    """Reads a file to its end, but at most `most` bytes, with memory for the actual content."""
    parts = []
    while most > 0 and (part := file.read(min(most, _AT_ONCE))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def lines(file: Any, path: Path) -> Iterator[Any]:
    """Yields the lines of a file, with line ends.

    Args:
        file: The opened file, which may be compressed.
        path: Path of the file.

    Raises:
        ValueError: If a line is longer than `LONGEST_LINE`, or the text is larger than a compressed
            file of this size can hold.
    """
    number = 0
    left = max(_MOST_TEXT, MOST_GROWTH * path.stat().st_size)
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        left -= len(line)
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"{path}, line {number} has more than {LONGEST_LINE:,} bytes, so this is not a "
                "text of sentences or short records. Download the file again."
            )
        if left < 0:
            raise ValueError(
                f"{path}, line {number}: the file is more than {MOST_GROWTH} times as large "
                "when unpacked, so it is not a text of sentences or records. Download the file "
                "again."
            )
        yield line


def read_npz(
    file: Path | IO[bytes],
    names: Collection[str] | None = None,
    most: int = MOST_BYTES,
    name: object = None,
) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` file.

    Args:
        file: Its path, or the opened file.
        names: Names of the arrays to read, if present; all by default.
        most: Limit of their total size, in bytes.
        name: Name of the file in errors; its path by default.

    Raises:
        ValueError: If the file is not an archive of arrays, or an array exceeds the rest of `most`
            or its size in the archive.
        OSError: If it cannot be read.
        zipfile.BadZipFile: If it is damaged.
        RuntimeError: If it is encrypted, or compressed by a method that NumPy does not use.
    """
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            own = entry.filename.removesuffix(".npy")
            if own != entry.filename and (names is None or own in names):
                with archive.open(entry) as part:
                    called = f"{name or file} ({own})"
                    found[own] = read_array(part, entry.file_size, called, most)
                most -= found[own].nbytes
    return found


def read_array(file: IO[bytes], size: int, name: object, most: int = MOST_BYTES) -> np.ndarray:
    """Reads an array in NumPy's format, after a check of its size.

    Args:
        file: The opened file, at its beginning, which may be compressed.
        size: Size of the file in bytes.
        name: Name of the file in errors.
        most: Limit of the size of the array, in bytes.

    Raises:
        ValueError: If the file is not an array, or its header announces more than the file holds.
    """
    shape, _, dtype = _header(file)
    announced = dtype.itemsize * int(np.prod(shape, dtype=object))
    if announced > min(size, most):
        raise ValueError(
            f"{name} declares an array of {announced:,} bytes, but the file has {size:,}, and "
            f"at most {most:,} are read."
        )
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"unknown version {version} of NumPy's file format")
    return readers[version](file)
