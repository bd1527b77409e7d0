"""CPU times of runs, from the log of a study."""

import math
from pathlib import Path

from mtk import records


def cpu_times(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Returns the CPU times in the log of a study folder; empty if it cannot be read.

    Lines without the name of a run, such as those of a killed process, are skipped.

    Returns:
        The CPU seconds of each run, summed over all its sessions, however they ended; runs with a
        session whose time is not recorded are left out. And, in a search, the CPU seconds of all
        runs together at the time when each run last stopped.
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
