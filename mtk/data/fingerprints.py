"""Hashes that identify data; those of large files are cached."""

import contextlib
import hashlib
import json
import mmap
import os
import time
from pathlib import Path

import numpy as np

from mtk.data import synthetic

_DIGITS = 16
_LARGE = 1 << 25  # Bytes; hashing a smaller file is too fast for a cache to pay off.
_SETTLED = 2.0  # Seconds after which a further change of a file is sure to change its times.


def described(number: int, *arrays: np.ndarray) -> str:
    """Returns a text with the number of examples and the hash of arrays.

    Args:
        number: Number of examples.
        *arrays: Arrays in memory or memory-mapped.
    """
    return f"{number:,} examples, sha256 {of_arrays(*arrays)}"


def of_arrays(*arrays: np.ndarray) -> str:
    """Returns a hash of the types, shapes and values of arrays.

    For an array that maps a whole file, the hash of the file is used; see `of_file`.
    """
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str} {array.shape};".encode())
        if synthetic.is_repeated(array):
            array = array[:1]
        if isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
            found.update(of_file(Path(str(array.filename))).encode())
        elif array.dtype.hasobject:
            found.update(repr(array.tolist()).encode())
        else:
            found.update(np.ascontiguousarray(array).view(np.uint8).data)
    return found.hexdigest()[:_DIGITS]


def of_texts(*texts: list[str]) -> str:
    """Returns a hash of lists of texts."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:_DIGITS]


def of_file(path: Path) -> str:
    """Returns a hash of a file.

    For a large file it is cached in `$XDG_CACHE_HOME/mtk/hashes` (`~/.cache/mtk/hashes`), and
    recomputed if the file's size, inode or modification times change.

    Raises:
        OSError: If the file cannot be read.
    """
    path = path.resolve()
    state = _state(path)
    if state[0] < _LARGE:
        return sha256(path)[:_DIGITS]
    name = hashlib.sha256(os.fsencode(path)).hexdigest()
    kept = _cache() / f"{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(kept.read_text(encoding="utf-8"))
        if known["state"] == state:
            return str(known["sha256"])
    found = sha256(path)[:_DIGITS]
    changed = max(state[2:]) / 1e9
    if _state(path) == state and time.time() - changed > _SETTLED:
        _keep(kept, {"path": str(path), "state": state, "sha256": found})
    return found


def _cache() -> Path:
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification requires ignoring relative paths.
    home = given if given.is_absolute() else Path.home() / ".cache"
    return home / "mtk" / "hashes"


def _state(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keep(path: Path, content: dict[str, object]) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # Without a cache the file is hashed again.
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        unfinished.replace(path)
