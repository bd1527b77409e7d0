"""Durations and ends of the runs of a study, and estimated durations of other runs."""

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

FULL = "no room"  # the event of a run that was stopped by a full disk


class RunLog:
    """A file with one line for each stop of a run.

    Args:
        path: The file; created with the first line.
    """

    def __init__(self, path: Path):
        self.path = path

    def note(self, run: str, event: str, seconds: float, cpu_seconds: float | None = None) -> None:
        """Adds a line.

        Args:
            run: Hash of the run.
            event: How it stopped.
            seconds: How long it ran.
            cpu_seconds: CPU time of its process, over all threads.
        """
        about: dict[str, Any] = {"run": run, "event": event, "seconds": round(seconds, 3)}
        if cpu_seconds is not None:
            about["cpu_seconds"] = round(cpu_seconds, 3)
        line = json.dumps(about)
        with self.path.open("ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # A full disk has cut off the last line.
                    line = f"\n{line}"
            file.write(f"{line}\n".encode())

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yields `run`, `event`, `seconds` and `cpu_seconds` of each readable line.

        For lines of earlier versions, which have no CPU time, `cpu_seconds` equals `seconds`.
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
        """Returns how a run last stopped; None if it never stopped."""
        return {entry["run"]: entry["event"] for entry in self.entries()}.get(run)

    def cpu_seconds(self) -> dict[str, float]:
        """Returns the CPU time of each run so far, over all its sessions, however they ended."""
        total: dict[str, float] = {}
        for entry in self.entries():
            total[entry["run"]] = total.get(entry["run"], 0.0) + entry["cpu_seconds"]
        return total

    def seconds(self) -> dict[str, float]:
        """Returns how long each completed run took, over all its sessions."""
        total: dict[str, float] = {}
        complete = set()
        for entry in self.entries():
            total[entry["run"]] = total.get(entry["run"], 0.0) + entry["seconds"]
            if entry["event"] in ("finished", "diverged"):
                complete.add(entry["run"])
        return {run: total[run] for run in complete}


class Estimate:
    """Estimates a run's duration from those of its method, or else from all runs.

    Args:
        seconds: Durations of completed runs, by hash.
        runs: All runs.
        expected: The estimate until a run is completed; None if it is unknown.
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
        """Adds the duration of a completed run."""
        self.measured.setdefault(run.method, []).append(seconds)

    def of(self, run: Run) -> float | None:
        """Returns the estimated seconds of a run, or None."""
        own = self.measured.get(run.method)
        found = own or [second for each in self.measured.values() for second in each]
        return fmean(found) if found else self.expected

    def total(
        self, runs: Sequence[Run], slots: int, spent: Sequence[float] | None = None
    ) -> float | None:
        """Returns the estimated seconds of several runs, some of them in parallel, or None.

        Args:
            runs: The runs.
            slots: Number of runs at a time.
            spent: Seconds that each run has already taken; None for no time.
        """
        each = [self.of(run) for run in runs]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each):
            return None
        taken = spent or [0.0] * len(known)
        left = [max(0.0, whole - part) for whole, part in zip(known, taken, strict=True)]
        return sum(left) / min(slots, max(len(known), 1))
