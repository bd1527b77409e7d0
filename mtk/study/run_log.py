"""How long the runs of a study took, how they ended, and how long others will take."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mtk import records
from mtk.study.grid import Run

FULL = "no room"  # the event of a run that a full disk has stopped


class RunLog:
    """A file with a line for each time that a run stopped.

    Args:
        path: The file; made with the first line.
    """

    def __init__(self, path: Path):
        self.path = path

    def note(self, run: str, event: str, seconds: float, cpu_seconds: float | None = None) -> None:
        """Adds a line.

        Args:
            run: Which run.
            event: How it stopped.
            seconds: How long it was at work.
            cpu_seconds: CPU time of its process, over all threads.
        """
        about: dict[str, Any] = {"run": run, "event": event, "seconds": round(seconds, 3)}
        if cpu_seconds is not None:
            about["cpu_seconds"] = round(cpu_seconds, 3)
        line = json.dumps(about)
        with self.path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # A full disk has cut off the last one.
                    line = f"\n{line}"
            file.write(f"{line}\n".encode())

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yields `run`, `event`, `seconds` and `cpu_seconds` of each line that can be read.

        Lines of an earlier version have no CPU time; there it is `seconds`.
        """
        if not self.path.exists():
            return
        for entry in records.json_lines(self.path):
            with contextlib.suppress(ValueError, TypeError, KeyError, OverflowError):  # Mixed up.
                seconds = float(entry["seconds"])
                cpu_seconds = float(entry.get("cpu_seconds", seconds))
                if math.isfinite(seconds + cpu_seconds):
                    about = {name: str(entry[name]) for name in ("run", "event")}
                    yield {**about, "seconds": seconds, "cpu_seconds": cpu_seconds}

    def last(self, run: str) -> str | None:
        """Returns how a run stopped the last time; None if it never did."""
        return {entry["run"]: entry["event"] for entry in self.entries()}.get(run)

    def cpu_seconds(self) -> dict[str, float]:
        """Returns the CPU time of each run so far, over all its sessions, however they ended."""
        total: dict[str, float] = {}
        for entry in self.entries():
            total[entry["run"]] = total.get(entry["run"], 0.0) + entry["cpu_seconds"]
        return total

    def seconds(self) -> dict[str, float]:
        """Returns how long each completed run was at work, over all its sessions."""
        total: dict[str, float] = {}
        complete = set()
        for entry in self.entries():
            total[entry["run"]] = total.get(entry["run"], 0.0) + entry["seconds"]
            if entry["event"] in ("finished", "diverged"):
                complete.add(entry["run"])
        return {run: total[run] for run in complete}


class Estimate:
    """Expects a run to take as long as those of its method did, or else as any did.

    Args:
        seconds: What completed runs took, by hash.
        runs: All runs.
        expected: What is taken before any run is completed; None if nothing is known.
    """

    def __init__(
        self, seconds: Mapping[str, float], runs: Sequence[Run], expected: float | None = None
    ):
        self.expected = expected
        self.measured: dict[str, list[float]] = {}
        for run in runs:
            if run.hash in seconds:
                self.add(run, seconds[run.hash])

    def add(self, run: Run, seconds: float) -> None:
        """Adds what a completed run took."""
        self.measured.setdefault(run.method, []).append(seconds)

    def of(self, run: Run) -> float | None:
        """Returns the seconds that a run is expected to take, or None."""
        own = self.measured.get(run.method)
        found = own or [second for each in self.measured.values() for second in each]
        return fmean(found) if found else self.expected

    def total(
        self, runs: Sequence[Run], slots: int, spent: Sequence[float] | None = None
    ) -> float | None:
        """Returns the seconds that several runs take, so many at a time, or None.

        Args:
            runs: The runs.
            slots: How many there are at a time.
            spent: Seconds that parts of each have already taken; None: nothing.
        """
        each = [self.of(run) for run in runs]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return None
        taken = spent or [0.0] * len(known)
        left = [max(0.0, whole - part) for whole, part in zip(known, taken, strict=True)]
        return sum(left) / min(slots, max(len(known), 1))
