"""What a search had spent when each of its runs ended."""

import json
import math
from pathlib import Path

from mtk import records


def cpu_spent(folder: Path) -> dict[str, float]:
    """Returns the CPU seconds that all runs together had taken when each one stopped last.

    Lines that say nothing, as a killed process leaves them, are skipped.

    Args:
        folder: A study folder.

    Returns:
        By run; nothing where the folder holds no search or its log cannot be read.
    """
    if not (folder / "search.json").is_file():
        return {}
    found, spent = dict[str, float](), 0.0
    try:
        for line in records.lines(folder / "run_log.jsonl"):
            run, seconds = _entry(line)
            spent += seconds
            found[run] = spent
    except (records.DamagedError, OSError):
        return {}
    found.pop("", None)
    return found


def _entry(line: str) -> tuple[str, float]:
    """Returns a line's run and CPU seconds; an empty name and none if it has none."""
    try:
        said = json.loads(line)
        run, seconds = str(said["run"]), float(said["cpu_seconds"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "", 0.0
    return (run, seconds) if math.isfinite(seconds) and seconds >= 0 else ("", 0.0)
