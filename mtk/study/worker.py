"""Does one run of a study in this process."""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from mtk import resources, signals, tf_logging
from mtk.study.folder import State, StudyFolder
from mtk.study.run_log import FULL as NO_ROOM

# Environment variable of a run: the study folder that it belongs to.
STUDY_DIR = "MTK_STUDY_DIR"
FINISHED, FAILED, BAD_INPUT, DIVERGED, FULL, INTERRUPTED, TAKEN = 0, 1, 2, 3, 74, 75, 76
PAUSED = 77
_DONE = (State.FINISHED, State.DIVERGED, State.DAMAGED, State.FAILED, State.PAUSED)
_EVENTS = {
    FINISHED: "finished",
    DIVERGED: "diverged",
    FULL: NO_ROOM,
    INTERRUPTED: "interrupted",
    PAUSED: "paused",
}
_CODES = {"diverged": DIVERGED, "interrupted": INTERRUPTED, "paused": PAUSED}
_WATCH = 0.5  # seconds


def work(folder: str | Path, run: str) -> int:
    """Does a run, or the rest of it, unless another process is doing it.

    Args:
        folder: The study folder.
        run: Hash of the run.

    Returns:
        0 finished, 1 or 2 failed, 3 diverged, 74 stopped by a full disk, 75 interrupted, 76 taken
        by another process, 77 paused.
    """
    study = StudyFolder(folder)
    lease = study.lease(run)
    if not lease.acquire():
        return TAKEN
    os.environ[STUDY_DIR] = str(study.path.absolute())
    try:
        if study.state(run) in _DONE:
            return TAKEN  # Another process was quicker.
        started, cpu_started = time.monotonic(), time.process_time()
        code = _launch(study, run)
        event = _EVENTS.get(code, "failed")
        with contextlib.suppress(OSError):  # It only records durations.
            seconds, cpu = time.monotonic() - started, time.process_time() - cpu_started
            study.run_log.note(run, event, seconds, cpu)
        return code
    finally:
        lease.release()


def _launch(study: StudyFolder, run: str) -> int:
    tf_logging.start_tensorflow()
    from mtk import config, experiment

    file, run_dir = str(study.config(run)), str(study.run_dir(run))
    # The manifest records how to do this run alone.
    command = [f"--gin_file={file}", f"--run_dir={run_dir}"]
    sys.orig_argv = [sys.executable, "-m", "mtk.train", *command]
    try:
        result = experiment.launch([file], [], run_dir, pause_at=study.pause_at(run))
    except Exception as error:
        with contextlib.suppress(OSError):  # The log may be on the full disk.
            traceback.print_exc()
        # The run has not failed; it continues when there is free space.
        if resources.is_full(error):
            return FULL
        expected = isinstance(error, (ValueError, OSError))
        reason = config.explain(error) if expected else f"{type(error).__name__}: {error}"
        study.fail(run, reason)
        return BAD_INPUT if expected else FAILED
    return _CODES.get(result["status"], FINISHED)


def detached(job: Callable[[], int], log: Path, parent: int) -> int:
    """Does a job in a process that was just started for it.

    The process gets its own session, so that Ctrl-C or closing the terminal reaches only the sweep,
    which signals each run once. If the sweep ends, the process ends too, with a checkpoint.

    Args:
        job: What to do; returns the exit code.
        log: File to which the output of the job is appended.
        parent: Process id of the sweep.
    """
    # Signals are blocked until the usual handlers are known to be in place.
    for number in signals.STOPPING:
        signal.signal(number, signal.SIG_DFL)
    with contextlib.suppress(PermissionError):  # It already leads a session.
        os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOPPING)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    with log.open("a", encoding="utf-8") as file:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # In a process forked from a sweep, these write through the sweep's view.
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    return job()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> int:
    """Does the run that the command line names; for engines that start commands."""
    parser = argparse.ArgumentParser("python -m mtk.study.worker", description=__doc__)
    parser.add_argument("--study_dir", required=True)
    parser.add_argument("--run", required=True)
    given = parser.parse_args()
    log = StudyFolder(given.study_dir).log(given.run)
    return detached(lambda: work(given.study_dir, given.run), log, os.getppid())


if __name__ == "__main__":
    sys.exit(main())
