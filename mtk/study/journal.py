"""When the runs of a study were at work, and how it ended."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FULL = "no room"  # the event of a run that a full disk has stopped


class Journal:
    """A file with a line for each time that a run stopped.

    Args:
        path: The file; made with the first line.
    """

    def __init__(self, path: Path):
        self.path = path

    def note(self, run: str, event: str, seconds: float) -> None:
        """Adds a line.

        Args:
            run: Which run.
            event: How it stopped.
            seconds: How long it was at work.
        """
        line = json.dumps({"run": run, "event": event, "seconds": round(seconds, 3)})
        with self.path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # A full disk has cut off the last one.
                    line = f"\n{line}"
            file.write(f"{line}\n".encode())

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yields `run`, `event` and `seconds` of each line that can be read."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # Cut off, or mixed up.
                entry = json.loads(line)
                seconds = float(entry["seconds"])
                yield {"run": entry["run"], "event": entry["event"], "seconds": seconds}

    def last(self, run: str) -> str | None:
        """Returns how a run stopped the last time; None if it never did."""
        return {entry["run"]: entry["event"] for entry in self.entries()}.get(run)

    def seconds(self) -> dict[str, float]:
        """Returns how long each completed run was at work, over all its sessions."""
        total: dict[str, float] = {}
        complete = set()
        for entry in self.entries():
            total[entry["run"]] = total.get(entry["run"], 0.0) + entry["seconds"]
            if entry["event"] in ("finished", "diverged"):
                complete.add(entry["run"])
        return {run: total[run] for run in complete}
