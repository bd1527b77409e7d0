"""What was read of the test, and when: a file that only grows, each line with the hash of the last.

A line is on the disk before its answer is told. So whoever scores again after a kill gets the same
answer and spends no further read, and a line that was changed or removed later is found.
"""

import contextlib
import datetime
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mtk import locks, records
from mtk.errors import StudyError

_FIRST = "0" * 64
_KEYS = {"number", "time", "card", "entry", "submission", "scored", "improved", "previous", "hash"}


class Ledger:
    """The file `reads.jsonl` of a board.

    Args:
        folder: Of the board.
    """

    def __init__(self, folder: Path):
        self.path = folder / "reads.jsonl"
        self._lock = folder / "lock"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one process score at a time: two would spend one read twice."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = locks.open_file(self._lock)
        try:
            locks.lock(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)

    def entries(self) -> list[dict[str, Any]]:
        """Returns all lines, the oldest first.

        Raises:
            StudyError: If one was changed, removed or added by hand.
        """
        if not self.path.exists():
            return []
        text = records.text(self.path, 1 << 28)
        # Without its end a line was never told: the process was killed in the middle.
        lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
        found: list[dict[str, Any]] = []
        for number, line in enumerate(lines):
            previous = found[-1]["hash"] if found else _FIRST
            entry = _entry(line)
            if not entry or entry["previous"] != previous or entry["number"] != number:
                raise StudyError(
                    f"{str(self.path)!r} was changed: line {number + 1} is not what was written "
                    "after the line before. Nothing was scored. Put back a copy of the file; it is "
                    "all that tells how often the test was read."
                )
            found.append(entry)
        return found

    def add(self, about: dict[str, Any]) -> dict[str, Any]:
        """Adds a line, and returns it when it is on the disk.

        Args:
            about: `card`, `entry`, `submission` and `scored` (hashes) and `improved`.
        """
        known = self.entries()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        previous = known[-1]["hash"] if known else _FIRST
        entry = {"number": len(known), "time": now, **about, "previous": previous}
        entry["hash"] = _hash(entry)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "r+b") as file:
            whole = file.read()
            file.truncate(whole.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return entry


def _entry(line: str) -> dict[str, Any]:
    """Returns what a line says; nothing if it is not as it was written."""
    try:
        entry = records.parsed(line.encode(), "reads.jsonl")
    except records.DamagedError:
        return {}
    return entry if {*entry} == _KEYS and entry["hash"] == _hash(entry) else {}


def _hash(entry: dict[str, Any]) -> str:
    kept = {name: value for name, value in entry.items() if name != "hash"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
