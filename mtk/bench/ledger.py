"""Ledger of the reads of the test: an append-only file, each line with the hash of the last.

A line is on disk before its answer is published. So scoring again after a kill gives the same
answer and spends no further read, and lines that were changed or removed later are detected. The
file is replaced as a whole, so that a kill leaves no partial line: one that was cut off was edited.
"""

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtk import atomic, locks, records
from mtk.errors import DamagedError, StudyError

_FIRST = "0" * 64
_KEYS = {"number", "time", "card", "entry", "submission", "scored", "improved", "previous", "hash"}


class Ledger:
    """The file `reads.jsonl` of a board.

    Args:
        folder: The folder of the board.
    """

    def __init__(self, folder: Path):
        self.path = folder / "reads.jsonl"
        self._lock = folder / "lock"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one process score at a time, since two would spend one read twice.

        If nothing was read, a folder that was created for it is removed.
        """
        folder = self.path.parent
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        descriptor = self._locked()
        try:
            yield
        finally:
            if missing and not self.path.exists():
                self._lock.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # It is not empty.
                    for place in missing:
                        place.rmdir()
            os.close(descriptor)

    def _locked(self) -> int:
        while True:
            with contextlib.suppress(FileNotFoundError):  # Another process has removed the folder.
                self.path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = locks.open_file(self._lock)
                locks.lock(descriptor, wait=True)
                if os.fstat(descriptor).st_nlink:
                    return descriptor
                os.close(descriptor)

    def entries(self) -> list[dict[str, Any]]:
        """Returns all lines, the oldest first.

        Raises:
            StudyError: If a line was changed, removed or added by hand.
        """
        if not self.path.exists():
            return []
        try:
            lines = records.text(self.path, 1 << 28).splitlines(keepends=True)
        except DamagedError as error:
            raise StudyError(
                f"{str(self.path)!r} cannot be read: {error}. Nothing was scored."
            ) from error
        found: list[dict[str, Any]] = []
        for number, line in enumerate(lines or [""]):
            previous = found[-1]["hash"] if found else _FIRST
            entry = _entry(line) if line.endswith("\n") else {}
            if not entry or entry["previous"] != previous or entry["number"] != number:
                raise StudyError(
                    f"{str(self.path)!r} was changed: line {number + 1} does not match the hash "
                    "chain. Nothing was scored. Restore a copy of the file; it is the only record "
                    "of how often the test was read."
                )
            found.append(entry)
        return found

    def add(self, about: dict[str, Any]) -> dict[str, Any]:
        """Adds a line, and returns it when it is on disk.

        Args:
            about: `card`, `entry`, `submission` and `scored` (hashes) and `improved`.
        """
        known = self.entries()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        previous = known[-1]["hash"] if known else _FIRST
        entry = {"number": len(known), "time": now, **about, "previous": previous}
        entry["hash"] = _hash(entry)
        with atomic.replacing(self.path) as aside:
            aside.write_text("".join(json.dumps(each) + "\n" for each in [*known, entry]))
        return entry


def _entry(line: str) -> dict[str, Any]:
    """Returns the content of a line; empty if the line was changed."""
    try:
        entry = records.parsed(line.encode(), "reads.jsonl")
    except records.DamagedError:
        return {}
    return entry if {*entry} == _KEYS and entry["hash"] == _hash(entry) else {}


def _hash(entry: dict[str, Any]) -> str:
    kept = {name: value for name, value in entry.items() if name != "hash"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
