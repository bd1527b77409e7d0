"""What the log of a study says of the CPU time of its runs."""

import math
from pathlib import Path

from mtk import records


def cpu_times(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Returns what the log of a study folder tells; nothing if it cannot be read.

    Lines that name no run, as a killed process leaves them, are skipped.

    Returns:
        The CPU seconds of each run, over all its sessions, however they ended; runs with a session
        that does not tell are not there. And, in a search, those of all runs together when each one
        stopped last.
    """
    own, spent, total = dict[str, float](), dict[str, float](), 0.0
    try:
        for said in records.json_lines(folder / "run_log.jsonl"):
            try:
                run, seconds = str(said["run"]), float(said.get("cpu_seconds", "nan"))
            except (ValueError, TypeError, KeyError):
                continue
            known = seconds >= 0 and math.isfinite(seconds)
            own[run] = own.get(run, 0.0) + (seconds if known else math.nan)
            if known:
                spent[run] = total = total + seconds
    except (records.DamagedError, OSError):
        return {}, {}
    own = {run: seconds for run, seconds in own.items() if math.isfinite(seconds)}
    return own, spent if (folder / "search.json").is_file() else {}
