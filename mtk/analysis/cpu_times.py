"""What the log of a study says of the CPU time of its runs."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from mtk import records


class CpuTimes(NamedTuple):
    """CPU seconds by run.

    Attributes:
        own: Of each run, over all its sessions, however they ended; runs with a session that does
            not tell are not there.
        spent: In a search, of all runs together when each one stopped last.
    """

    own: dict[str, float]
    spent: dict[str, float]


def cpu_times(folder: Path) -> CpuTimes:
    """Returns what the log of a study folder tells; nothing if it cannot be read.

    Lines that name no run, as a killed process leaves them, are skipped.
    """
    own, spent, total = dict[str, float](), dict[str, float](), 0.0
    try:
        for line in records.lines(folder / "run_log.jsonl"):
            run, seconds = _entry(line)
            if run:
                own[run] = own.get(run, 0.0) + seconds
            if math.isfinite(seconds):
                spent[run] = total = total + seconds
    except (records.DamagedError, OSError):
        return CpuTimes({}, {})
    known = {run: seconds for run, seconds in own.items() if math.isfinite(seconds)}
    return CpuTimes(known, spent if (folder / "search.json").is_file() else {})


def _entry(line: str) -> tuple[str, float]:
    """Returns a line's run and its CPU seconds, NaN if unknown; an empty name if it has none."""
    try:
        said = json.loads(line)
        run, seconds = str(said["run"]), float(said.get("cpu_seconds", "nan"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", math.nan
    return run, seconds if seconds >= 0 and math.isfinite(seconds) else math.nan
