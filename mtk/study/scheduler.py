"""Passes runs to an engine until none is left."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum

from mtk import monitor
from mtk.display import BEST, counted
from mtk.study import summary
from mtk.study.engines.base import Engine
from mtk.study.folder import State, StudyFolder
from mtk.study.grid import Run
from mtk.study.progress import Progress, Standing
from mtk.study.run_log import Estimate

_WAIT = 0.5  # seconds
_LOOK_ELSEWHERE = 3.0
# A run whose process ends this often in a row without saving anything new is not retried.
_DEATHS = 5


class End(Enum):
    """Why a sweep has stopped before all runs were done."""

    SIGNAL = "a signal"
    DISK = "a full disk"
    MAX_RUNS = "--max_runs"


class Scheduler:
    """Does runs and keeps track of their states.

    Args:
        folder: The study folder.
        engine: The engine that does the runs.
        signals: Signals that have asked the sweep to stop; see `mtk.signals.noted`.
        estimate: Estimated durations of runs.
        progress: Where progress is shown.
        max_runs: Maximum number of runs to start.

    Attributes:
        states: State of each run, by hash.
        later: Number of runs still to come that are not known yet.
        view: Makes the table that a terminal shows for the current runs; by default `best`.
        ended_by: Why the sweep has stopped, if it has; then no further run is started.
    """

    def __init__(
        self,
        folder: StudyFolder,
        engine: Engine,
        signals: Sequence[int],
        estimate: Estimate,
        progress: Progress,
        max_runs: int | None = None,
    ):
        self.folder = folder
        self.engine = engine
        self.signals = signals
        self.estimate = estimate
        self.progress = progress
        self.max_runs = max_runs
        self.states: dict[str, State] = {}
        self.later = 0
        self.view: Callable[[list[Run]], list[list[str]]] = lambda _: self.best
        self.ended_by: End | None = None
        self._runs: dict[str, Run] = {}
        self._selected: dict[str, monitor.Selected] = {}
        self._begun: set[str] = set()
        self._started: dict[str, float] = {}
        self._spent: dict[str, float] = {}  # Seconds that paused runs have taken so far.
        self._to_go_on: Sequence[Run] = ()
        self._deaths: dict[str, tuple[str, int]] = {}
        self._looked = 0.0
        self._heeded = 0

    def do(self, runs: Sequence[Run], to_pause: bool = False) -> bool:
        """Does all runs that are not done yet, and waits for those that other sweeps are doing.

        Args:
            runs: In the order in which to start them.
            to_pause: Whether they pause before their end, and may continue later.

        Returns:
            False if the sweep was stopped before all were done; see `ended_by`.
        """
        self._runs |= {run.hash: run for run in runs}
        self._to_go_on = runs if to_pause else ()
        for run in runs:
            self._note(run.hash)
        while self._started or (self.ended_by is None and self._open()):
            self._heed_signals()
            if self.ended_by is None:
                self._start_some()
            for stopped in self.engine.wait(_WAIT):
                self._settle(self._runs[stopped])
            self._look_elsewhere()
            self.progress.draw(self._standing())
        return self.ended_by is None

    @property
    def best(self) -> list[list[str]]:
        """The best configuration of each method, as a table."""
        return summary.best(self._all, self._selected)

    def _open(self) -> list[Run]:
        open_states = (State.PENDING, State.RUNNING)
        return [run for run in self._runs.values() if self.states[run.hash] in open_states]

    def _note(self, run: str) -> State:
        """Updates the state of a run from the folder."""
        self.states[run] = state = self.folder.state(run)
        if state is State.FINISHED and (said := self.folder.selected(run)):
            self._selected[run] = said
        return state

    def _start_some(self) -> None:
        for run in self._open():
            if len(self._started) >= self.engine.slots:
                return
            if self.states[run.hash] is not State.PENDING or run.hash in self._started:
                continue
            # Another sweep may have started it in the meantime.
            if self._note(run.hash) is not State.PENDING:
                continue
            if len(self._begun) == self.max_runs and run.hash not in self._begun:
                self.ended_by = End.MAX_RUNS
                return
            self._begun.add(run.hash)
            self._started[run.hash] = time.monotonic()
            self.engine.start(self.folder.path, run.hash)

    def _settle(self, run: Run) -> None:
        """Handles a run that has stopped."""
        seconds = time.monotonic() - self._started.pop(run.hash)
        self._spent[run.hash] = self._spent.get(run.hash, 0.0) + seconds
        state = self._note(run.hash)
        if state is State.PENDING and self.folder.lacks_room(run.hash):
            self.ended_by = End.DISK
        elif state is State.PENDING and self.ended_by is not End.SIGNAL:
            state = self._count_death(run)
        if state in (State.FINISHED, State.DIVERGED):
            self.estimate.add(run, self._spent[run.hash])
        text = ", ".join([run.method, *summary.parameters(run, summary.varying(self._all))])
        told = f"{text}, seed {run.seed} ({run.hash[:8]}): {self._words(run, state, seconds)}"
        self.progress.event(told, self._standing(), BEST in told)

    @property
    def _all(self) -> list[Run]:
        return list(self._runs.values())

    def _words(self, run: Run, state: State, seconds: float) -> str:
        if state is State.FAILED:
            reason = self.folder.reason(run.hash).splitlines() or [""]
            return f"FAILED: {reason[0]} ({self.folder.log(run.hash)})"
        if state is State.PENDING:
            full = self.ended_by is End.DISK
            return "disk full" if full else "interrupted, will be continued"
        if state is State.RUNNING:
            return "running in another sweep"
        if state is State.PAUSED:
            return f"paused at step {self.folder.pause_at(run.hash)}, after {seconds:.0f} s"
        said = self._selected.get(run.hash)
        value = monitor.shown(self._selected)[run.hash] if said else None
        result = (
            f", {self._star(run)}{monitor.short(said.of_trained().monitor)} {value:.4g}"
            if said
            else ""
        )
        return f"{state.value}{result}, after {seconds:.0f} s"

    def _star(self, run: Run) -> str:
        """Returns a star if a run is the best of its method so far."""
        own = [r for r in self._all if r.method == run.method and r.hash in self._selected]
        try:
            values = monitor.compared([self._selected[each.hash] for each in own])
        except monitor.DifferentMonitorsError:
            return ""
        return f"{BEST} " if own[values.index(min(values))] is run else ""

    def _count_death(self, run: Run) -> State:
        newest = self.folder.newest_checkpoint(run.hash)
        before, deaths = self._deaths.get(run.hash, ("", 0))
        deaths = deaths + 1 if newest == before else 1
        self._deaths[run.hash] = (newest, deaths)
        if deaths >= _DEATHS:
            self.folder.fail(
                run.hash,
                f"The process ended {deaths} times in a row without an error message or a new "
                "checkpoint, possibly for lack of memory. Try fewer workers.",
            )
            self.states[run.hash] = State.FAILED
        return self.states[run.hash]

    def _heed_signals(self) -> None:
        if len(self.signals) == self._heeded:
            return
        if self.ended_by is End.SIGNAL:
            self.engine.kill()
        elif self._started:
            self.progress.say(
                f"Stopping: writing checkpoints of {counted(len(self._started), 'run')}. Signal "
                "again to stop at once."
            )
            self.engine.stop()
        self._heeded, self.ended_by = len(self.signals), End.SIGNAL

    def _look_elsewhere(self) -> None:
        """Updates the states of runs that other sweeps are doing."""
        if time.monotonic() - self._looked < _LOOK_ELSEWHERE:
            return
        self._looked = time.monotonic()
        for run in self._open():
            if self.states[run.hash] is State.RUNNING:
                self._note(run.hash)

    def _standing(self) -> Standing:
        states = Counter([*self.states.values(), *[State.PENDING] * self.later])
        at_work = [self._runs[run] for run in self._started]
        best = self.view(at_work) if self.progress.display.on_terminal else []
        return Standing(states, len(self._started), self._seconds_left(), best)

    def _seconds_left(self) -> float | None:
        paused = [run for run in self._to_go_on if self.states[run.hash] is State.PAUSED]
        begun, like_them = [*self._open(), *paused], self._all[-1:] * self.later
        before = [self._spent.get(run.hash, 0.0) for run in begun] + [0.0] * len(like_them)
        total = self.estimate.total([*begun, *like_them], self.engine.slots, before)
        if total is None:
            return None
        now = time.monotonic()
        spent = sum(now - started for started in self._started.values())
        return max(0.0, total - spent / self.engine.slots)
