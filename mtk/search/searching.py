"""Requests points from a sampler and does their runs, round by round."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mtk.display import counted
from mtk.errors import StudyError
from mtk.flags import as_folder
from mtk.search import trials
from mtk.search.cooling import Cooling
from mtk.search.halving import Halving
from mtk.search.live import Live
from mtk.search.pausing import Pausing
from mtk.search.population import Population
from mtk.search.result import Confirmed, Found, Tried
from mtk.search.runs import SearchRuns
from mtk.search.samplers import Sampler, Trial
from mtk.search.space import Point
from mtk.search.spec import MOST_CONFIRMED, Search
from mtk.signals import noted
from mtk.study import Run, State, checking
from mtk.study.engines import Engine, Local, made
from mtk.study.progress import Progress
from mtk.study.run_log import Estimate
from mtk.study.scheduler import End, Scheduler

STOPPED = 75


class Searcher:
    """Requests points from a sampler, does their runs and tells it the results.

    Args:
        runs: The search's runs.
    """

    def __init__(self, runs: SearchRuns):
        self.runs = runs
        self.search, self.folder = runs.search, runs.folder
        self.tried: list[Tried] = []
        self.confirmed: list[Confirmed] = []

    def go(self, engine: Engine, progress: Progress | None = None) -> Found:
        """Does the rest of the search.

        Args:
            engine: The engine that does the runs.
            progress: Where progress is shown.

        Returns:
            The results, with the exit code of `mtk.search`.
        """
        progress = progress or Progress()
        for line in self.runs.remarks:
            progress.say(line)
        try:
            with noted() as signals, engine:
                estimate = Estimate(self.folder.run_log.seconds(), [], self._seconds_expected)
                scheduler = Scheduler(self.folder, engine, signals, estimate, progress)
                complete = self._search(scheduler) and self._confirm(scheduler)
        finally:
            progress.close()
        return self._found(self._report(scheduler) if complete else self._stopped(scheduler))

    @property
    def _seconds_expected(self) -> float | None:
        minutes = self.search.run_minutes
        return None if minutes is None else 60 * minutes

    def _search(self, scheduler: Scheduler) -> bool:
        """Does the rounds; returns False if the search was stopped."""
        self.tried = []
        if self.search.pbt is not None:
            self.population = Population(self.runs, scheduler)
            complete = self.population.train()
            self.tried = list(self.population.tried.values())
            return complete
        self.halving = Halving(self.search.looked_for, self.search.space, self.search.keep)
        self.live = Live(self._found(0))
        scheduler.view = self.live.table
        sampler, number = self.search.make_sampler(), 0
        while (left := self._trials_left(self.tried)) > 0:
            wanted = min(left, self.search.at_a_time)
            points = self.runs.rounds.get(number, functools.partial(sampler.ask, wanted))[:left]
            if not points:
                scheduler.progress.say("The sampler has no more points to try.")
                break
            # The runs still to come, for the estimate of the time left.
            scheduler.later = (left - len(points)) * len(self.search.seeds)
            if not self._round(scheduler, sampler, [self.runs.known(point) for point in points]):
                return False
            number += 1
            if not sampler.finished and self._all_failed():
                scheduler.progress.say("All runs have failed, so no more runs are started.", "red")
                break
        else:
            self._say_spent(scheduler.progress)
        scheduler.later = 0
        return True

    def _round(self, scheduler: Scheduler, sampler: Sampler, points: Sequence[Point]) -> bool:
        runs = [self.runs.of(point) for point in points]
        come: dict[int, Tried] = {}
        going = list(range(len(points)))
        made = Cooling if self.search.cooldown else Pausing
        way = made(self.runs, scheduler)
        for number, rung in enumerate((*self.search.rungs, None)):
            if not way.do([run for n in going for run in runs[n]], rung):
                return False
            come |= {n: way.tried(points[n], runs[n], rung) for n in going}
            if rung is not None:
                told = [Trial(points[n], self.runs.as_told(come[n].losses)) for n in going]
                going = [going[place] for place in self.halving.go_on(number, told)]
        known = [*self.tried, *(come[number] for number in range(len(points)))]
        total = len(known) + max(0, self._trials_left(known))
        for number, point in enumerate(points):
            self.tried.append(come[number])
            sampler.tell(point, self.runs.as_told(come[number].losses))
            scheduler.progress.say(trials.line(self._found(0), total))
        if scheduler.progress.display.on_terminal:
            self.live.update(self._found(0), self.folder.run_log.cpu_seconds())
        return True

    def _trials_left(self, tried: Sequence[Tried]) -> int:
        """Returns how many more trials the budget allows after these."""
        # A cooldown at a rung is a fraction of a run; without cooldowns, a trial counts as one run.
        spent_runs = round(sum(trial.cost for trial in tried), 9)
        left = math.floor(self.search.trials - spent_runs)
        if self.search.cpu_seconds is None or left <= 0 or not tried:
            return left
        spent, each, kept = self._seconds(tried)
        return min(left, int((self.search.cpu_seconds - spent - kept) / each) if each else left)

    def _seconds(self, tried: Sequence[Tried]) -> tuple[float, float, float]:
        """Returns the CPU seconds of trials, of a single trial, and the reserve for confirming."""
        spent = self._cpu_seconds(tried)
        # Confirming runs go to the end, unlike trials that diverge or stop at a rung.
        whole = [t for t in tried if t.losses and t.paused_at is None] or tried
        kept = self.search.reserved * self._cpu_seconds(whole) / len(whole) / len(self.search.seeds)
        return spent, spent / len(tried), kept

    def _say_spent(self, progress: Progress) -> None:
        """Reports why there is no further trial, if the number of runs would allow more."""
        left = self.search.trials - sum(trial.cost for trial in self.tried)
        if self.search.cpu_seconds is None or left < 1 or not self.tried:
            return
        spent, each, kept = self._seconds(self.tried)
        confirming = f", {kept:.0f} s are reserved for confirmation" if kept else ""
        progress.say(
            f"The budget of {self.search.cpu_seconds:g} CPU seconds does not allow another trial: "
            f"{spent:.0f} s are used, {each:.0f} s per trial{confirming}."
        )

    def _cpu_seconds(self, tried: Sequence[Tried]) -> float:
        """Returns the CPU time of trials."""
        own = {f.name for trial in tried for f in (*trial.runs, *trial.further)}
        return sum(s for run, s in self.folder.run_log.cpu_seconds().items() if run in own)

    def _all_failed(self) -> bool:
        names = [folder.name for trial in self.tried for folder in trial.runs]
        return all(self.folder.state(name) in (State.FAILED, State.DAMAGED) for name in names)

    def _confirm(self, scheduler: Scheduler) -> bool:
        """Runs the chosen trials with fresh seeds; returns False if the search was stopped."""
        chosen = self._found(0).chosen if self.search.confirm else []
        if len(chosen) > MOST_CONFIRMED:  # Choose trials spread over the front.
            places = np.linspace(0, len(chosen) - 1, MOST_CONFIRMED).round().astype(int)
            chosen = [chosen[place] for place in places]
        seeds = self.runs.study.second_stage
        if self.search.pbt is not None:
            if not self.population.confirm(seeds):
                return False
            groups = [self.population.confirmed for _ in chosen]
        else:
            groups = [self._runs_again(trial, seeds) for trial in chosen]
            if chosen and not self.runs.do(scheduler, [run for own in groups for run in own]):
                return False
        for trial, own in zip(chosen, groups, strict=True):
            losses = trials.losses(self.folder, own, self.search.space.tasks)
            dirs = [self.folder.run_dir(run.hash) for run in own]
            self.confirmed.append(Confirmed(trial, losses, dirs))
        return True

    def _runs_again(self, trial: Tried, seeds: Sequence[int]) -> list[Run]:
        point = {**trial.point, **self._length_of(trial)}
        return [self.runs.grid.run(self.search.method, point, seed) for seed in seeds]

    def _length_of(self, trial: Tried) -> Point:
        """Returns the bindings with which a cooled-down trial is one run, without a branch."""
        if self.search.cooldown is None:
            return {}
        entries = {
            entry["hash"]: entry["bindings"] for entry in self.folder.listed(self.runs.study)
        }
        bound, length = entries[trial.runs[0].name], self.search.cooldown.bindings(0, 1)
        return {name: bound[name] for name in length if name in bound}

    def _found(self, code: int) -> Found:
        selected = None if self.search.pbt is None else self.population.found
        about = (self.folder.path, self.search.space, self.search.looked_for)
        return Found(*about, list(self.tried), code, selected, list(self.confirmed))

    def _stopped(self, scheduler: Scheduler) -> int:
        disk = " The disk is full." if scheduler.ended_by is End.DISK else ""
        scheduler.progress.say(f"Stopped.{disk} Run the same command again to continue.")
        return STOPPED

    def _report(self, scheduler: Scheduler) -> int:
        say, counts = scheduler.progress.say, Counter(scheduler.states.values())
        failed = [r for r, s in scheduler.states.items() if s in (State.FAILED, State.DAMAGED)]
        for run in failed:
            say(f"{run}: {self.folder.reason(run)}\n  {self.folder.log(run)}", "red")
        place = "and were replaced" if self.search.pbt else "at a rung"
        say(
            f"{counted(counts[State.FINISHED], 'run')} finished, "
            f"{f'{self._stopped_early()} stopped {place}, ' * self.search.pauses}"
            f"{counts[State.DIVERGED]} diverged, {len(failed)} failed."
        )
        if failed:
            say("To repeat failed runs, add --retry_failed.")
        if not self._found(0).chosen:
            say(f"Not found: {self._why_not()}", "red")
        return 1 if failed or not self._found(0).chosen else 0

    def _stopped_early(self) -> int:
        return sum(len(trial.runs) for trial in self.tried if trial.paused_at is not None)

    def _why_not(self) -> str:
        found = self._found(0)
        if not found.complete:
            return (
                "no run has finished with a finite validation loss for each task. Search lower "
                "learning rates, or provide validation labels for each task."
            )
        words = self.search.looked_for.words(found.seen)
        return f"{words}. Relax the bound, widen the space or allow more runs."


def search(
    search: Search,
    study_dir: str | Path,
    engine: Callable[[], Engine] = Local,
    folders: Sequence[str | Path] = (),
    retry_failed: bool = False,
) -> Found:
    """Runs a search, or what is left of it.

    The output is a study folder like that of `mtk.sweep`, which `mtk.report` reads. When called
    again, the search continues where it was stopped or killed, and reaches the same result; a
    larger budget extends it.

    Args:
        search: The search.
        study_dir: Output folder: new, or that of this search.
        engine: Factory of the engine that does the runs.
        folders: Where to search for the files of the search, before the working directory.
        retry_failed: Whether to repeat failed runs.

    Returns:
        The results, which can be printed. `exit_code` is 0 if all runs are done, 1 if runs have
        failed or no trial meets the goal, 75 if a signal or a full disk stopped the search; the
        same call then continues.

    Raises:
        StudyError: If the search cannot be run, or the folder holds another one.
        ValueError: If the engine has a wrong argument.
    """
    if not isinstance(search, Search):
        raise StudyError(f"`search` must be an mtk.search.Search. Received: {search!r}")
    if isinstance(folders, str):
        raise StudyError(f"`folders` must be a list of folders. Received: {folders!r}")
    runs = SearchRuns(search, as_folder("study_dir", study_dir), folders, retry_failed)
    progress = Progress()
    chosen = made(engine)
    if not runs.rounds.path.exists():  # If the file exists, the runs were checked already.
        checking.check(runs.samples, runs.folder, progress, retry_failed, search.check_of_runs)
    return Searcher(runs).go(chosen, progress)
