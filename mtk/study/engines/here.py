"""Runs in this process, one after the other."""

import contextlib
import signal
from pathlib import Path

from mtk.study import worker
from mtk.study.engines.base import Engine
from mtk.study.folder import StudyFolder


class Here(Engine):
    """Does each run in this process, as it is started.

    For programs in which TensorFlow has already computed something, such as notebooks: these
    processes cannot be forked, and other processes cannot import definitions from a notebook.
    """

    def __init__(self) -> None:
        self._stopped: list[str] = []

    @property
    def slots(self) -> int:
        return 1

    def start(self, folder: Path, run: str) -> None:
        log = StudyFolder(folder).log(run)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(log.open("a", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
            code = worker.work(folder, run)
        self._stopped.append(run)
        if code == worker.INTERRUPTED:  # The run took the signal, of which the sweep knows nothing.
            signal.raise_signal(signal.SIGINT)

    def wait(self, seconds: float) -> list[str]:
        del seconds
        stopped, self._stopped = self._stopped, []
        return stopped

    def stop(self) -> None:
        """Does nothing: a run that is at work has got the signal itself."""

    def kill(self) -> None:
        """Does nothing: no run is at work."""
