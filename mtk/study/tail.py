"""Follows the log of a running run."""

import sys
import time
from pathlib import Path
from typing import TextIO

from mtk.study.folder import State, StudyFolder
from mtk.study.spec import StudyError

_LAST = 4_000  # characters of the log that are shown at first
_EVERY = 0.5  # seconds


def tail(study_dir: str | Path, run: str = "", stream: TextIO | None = None) -> None:
    """Prints the end of a run's log, and new output until the run stops.

    Args:
        study_dir: The study folder.
        run: The hash of the run or a prefix of it; by default the running run that wrote last.
        stream: Where to print; the standard output by default.

    Raises:
        StudyError: If there is no such run.
    """
    folder, out = StudyFolder(study_dir), stream or sys.stdout
    if not folder.path.is_dir():
        raise StudyError(f"The study folder {str(study_dir)!r} does not exist.")
    log = _log(folder, run)
    print(f"{log}:", file=out)
    with log.open(encoding="utf-8", errors="replace") as file:
        print(file.read()[-_LAST:], end="", file=out, flush=True)
        while folder.state(log.stem) is State.RUNNING:
            time.sleep(_EVERY)
            print(file.read(), end="", file=out, flush=True)
        print(file.read(), end="", file=out)
    print(f"The run is {folder.state(log.stem).value}.", file=out)


def _log(folder: StudyFolder, run: str) -> Path:
    logs = [path for path in folder.log("x").parent.glob("*.log") if path.stem.startswith(run)]
    if not run:
        logs = [path for path in logs if folder.state(path.stem) is State.RUNNING]
    if not logs:
        what = f"has no log of a run {run!r}" if run else "has no running run"
        raise StudyError(f"The study folder {str(folder.path)!r} {what}.")
    return max(logs, key=lambda path: path.stat().st_mtime)
