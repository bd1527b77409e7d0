"""Gives runs to an engine until none is left to do."""

import time
from collections import Counter
from collections.abc import Sequence

from mtk.study.board import Board, left_in_words
from mtk.study.engines.base import Engine
from mtk.study.estimate import Estimate
from mtk.study.expansion import Run
from mtk.study.folder import State, StudyFolder
from mtk.study.stopping import Stopping

_WAIT = 0.5  # seconds
_LOOK_ELSEWHERE = 3.0
# A run whose process ends so often in a row, with nothing new saved, is not tried again.
_DEATHS = 5


class Scheduler:
    """Does runs, and keeps account of them.

    Args:
        folder: The study folder.
        engine: What does the runs.
        stopping: Whether the sweep is asked to stop.
        estimate: How long runs take.
        board: Where progress is shown.

    Attributes:
        states: What has become of each run, by hash.
        later: How many runs will come that are not known yet.
        full: Whether a run has stopped because there is no room on the disk. Then none is started
            any more.
    """

    def __init__(
        self,
        folder: StudyFolder,
        engine: Engine,
        stopping: Stopping,
        estimate: Estimate,
        board: Board,
    ):
        self.folder = folder
        self.engine = engine
        self.stopping = stopping
        self.estimate = estimate
        self.board = board
        self.states: dict[str, State] = {}
        self.later = 0
        self.full = False
        self._runs: dict[str, Run] = {}
        self._started: dict[str, float] = {}
        self._deaths: dict[str, tuple[str, int]] = {}
        self._looked = 0.0
        self._stopped = 0

    def do(self, runs: Sequence[Run]) -> bool:
        """Does all runs that are still to do, and waits for those that others are doing.

        Args:
            runs: In the order in which to start them.

        Returns:
            False if a signal, or a full disk, has stopped the sweep before that.
        """
        self._runs |= {run.hash: run for run in runs}
        self.states |= {run.hash: self.folder.state(run.hash) for run in runs}
        while self._started or (not self._ends and self._open()):
            self._heed_signals()
            if not self._ends:
                self._start_some()
            for run in self.engine.wait(_WAIT):
                self._settle(self._runs[run])
            self._look_elsewhere()
            self.board.draw(self._counts(), len(self._started), self._left())
        return not self._ends

    @property
    def _ends(self) -> bool:
        return bool(self._stopped) or self.full

    def _open(self) -> list[Run]:
        open_states = (State.PENDING, State.ELSEWHERE)
        return [run for run in self._runs.values() if self.states[run.hash] in open_states]

    def _start_some(self) -> None:
        for run in self._open():
            if len(self._started) >= self.engine.slots:
                return
            if self.states[run.hash] is not State.PENDING or run.hash in self._started:
                continue
            # Another sweep may have been quicker since.
            self.states[run.hash] = self.folder.state(run.hash)
            if self.states[run.hash] is State.PENDING:
                self._started[run.hash] = time.monotonic()
                self.engine.start(self.folder.path, run.hash)

    def _settle(self, run: Run) -> None:
        """Takes account of a run that has stopped."""
        seconds = time.monotonic() - self._started.pop(run.hash)
        state = self.states[run.hash] = self.folder.state(run.hash)
        if state is State.PENDING and self.folder.lacks_room(run.hash):
            self.full = True
        elif state is State.PENDING and not self._stopped:
            self._count_death(run)
            state = self.states[run.hash]
        if state in (State.FINISHED, State.DIVERGED):
            self.estimate.add(run, seconds)
        what = self._words(run.hash, state, seconds)
        self.board.event(run, what, self._counts(), len(self._started), self._left())

    def _words(self, run: str, state: State, seconds: float) -> str:
        if state is State.FAILED:
            reason = self.folder.reason(run).splitlines() or [""]
            return f"FAILED: {reason[0]} ({self.folder.log(run)})"
        if state is State.PENDING:
            return "no room on the disk" if self.full else "interrupted, will go on"
        if state is State.ELSEWHERE:
            return "another sweep is doing it"
        return f"{state.value} after {seconds:.0f} s"

    def _count_death(self, run: Run) -> None:
        progress = self.folder.progress(run.hash)
        before, deaths = self._deaths.get(run.hash, ("", 0))
        deaths = deaths + 1 if progress == before else 1
        self._deaths[run.hash] = (progress, deaths)
        if deaths >= _DEATHS:
            self.folder.fail(
                run.hash,
                f"The process ended {deaths} times in a row without an error and without a new "
                "checkpoint. Memory may be short: try fewer workers.",
            )
            self.states[run.hash] = State.FAILED

    def _heed_signals(self) -> None:
        if self.stopping.asked == self._stopped:
            return
        if self._stopped:
            self.engine.kill()
        elif self._started:
            self.board.say(
                f"Stopping: {len(self._started)} runs write a checkpoint. Again: they end at once."
            )
            self.engine.stop()
        self._stopped = self.stopping.asked

    def _look_elsewhere(self) -> None:
        """Sees what has become of runs that other sweeps are doing."""
        if time.monotonic() - self._looked < _LOOK_ELSEWHERE:
            return
        self._looked = time.monotonic()
        for run in self._open():
            if self.states[run.hash] is State.ELSEWHERE:
                self.states[run.hash] = self.folder.state(run.hash)

    def _counts(self) -> Counter[State]:
        return Counter([*self.states.values(), *[State.PENDING] * self.later])

    def _left(self) -> str:
        like_them = list(self._runs.values())[-1:] * self.later
        total = self.estimate.total([*self._open(), *like_them], self.engine.slots)
        if total is None:
            return left_in_words(None)
        now = time.monotonic()
        spent = sum(now - started for started in self._started.values())
        return left_in_words(max(0.0, total - spent / self.engine.slots))
