"""Files and folders that are written whole or not at all."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a path to write to, and moves it to `path` when all is written.

    What is there already stays until then, and stays for good if an error is raised. A folder is
    removed just before the new one takes its place, since only files can be replaced in one move.

    Args:
        path: The file or folder to write.

    Yields:
        A path beside it with the same ending.
    """
    path = Path(path)
    unfinished = path.with_name(f"unfinished.{path.name}")
    _remove(unfinished)
    try:
        yield unfinished
        flush(unfinished)
        if path.is_dir():
            shutil.rmtree(path)
        unfinished.replace(path)
        _flush_one(path.parent)
    finally:
        _remove(unfinished)


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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
