"""When the runs of a study were at work, and how it ended."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yields `run`, `event` and `seconds` of each line that can be read."""
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):  # Cut off, or mixed up.
                entry = json.loads(line)
                seconds = float(entry["seconds"])
                yield {"run": entry["run"], "event": entry["event"], "seconds": seconds}

    def seconds(self) -> dict[str, float]:
        """Returns how long each completed run was at work, over all its sessions."""
        total: dict[str, float] = {}
        complete = set()
        for entry in self.entries():
            total[entry["run"]] = total.get(entry["run"], 0.0) + entry["seconds"]
            if entry["event"] in ("finished", "diverged"):
                complete.add(entry["run"])
        return {run: total[run] for run in complete}
