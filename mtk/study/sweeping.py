"""Runs a study, or what is left of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mtk import places, resources
from mtk.display import aligned, counted
from mtk.errors import StudyError
from mtk.signals import noted
from mtk.study import checking, reruns, summary
from mtk.study.engines import Engine, Local
from mtk.study.folder import State, StudyFolder
from mtk.study.grid import Grid, Run, distinct
from mtk.study.progress import Progress
from mtk.study.run_log import Estimate
from mtk.study.scheduler import End, Scheduler
from mtk.study.spec import Study


class Sweep:
    """A study in its folder.

    Everything that can be checked without running is checked when the object is created.

    Args:
        study: What to run.
        study_dir: Output folder: new, or that of this study.
        folders: Where to search for the files of the study, before the working directory.
        retry_failed: Whether to repeat failed runs.
        only: Labels of the methods whose runs are done; all by default.

    Raises:
        StudyError: If the study cannot be run, or the folder holds another one.
    """

    def __init__(
        self,
        study: Study,
        study_dir: str | Path,
        folders: Sequence[str | Path] = (),
        retry_failed: bool = False,
        only: Sequence[str] = (),
    ):
        reruns.check_second_stage(study)
        for label in only:
            study.check_method(label)
        self.study = study
        self.folder = StudyFolder(study_dir)
        self.grid = Grid(study, folders)
        self.methods = [label for label in study.methods if label in only or not only]
        every, again = distinct(self.grid.runs())
        self.runs = [run for run in every if run.method in self.methods]
        self.remarks = [*summary.repeated(again), *self.grid.unread()]
        places.check_kind(self.folder.path, "a study")
        self.folder.listed(study)
        self.retry_failed = retry_failed

    def describe(self, slots: int) -> str:
        """Returns the table of runs, their number and the estimated time; nothing is written.

        Args:
            slots: Runs at a time.
        """
        runs, later = self._known()
        states = {run.hash: self.folder.state(run.hash) for run in runs}
        pending = [run for run in runs if states[run.hash] not in summary.DONE]
        return "\n".join(
            [
                *summary.table(runs, states),
                "",
                *self.remarks,
                *summary.numbers(self.study, runs, states, later),
                summary.time_left([*pending, *runs[:1] * later], self._estimate(), slots),
            ]
        )

    def go(
        self,
        engine: Engine,
        replay: bool = False,
        progress: Progress | None = None,
        max_runs: int | None = None,
    ) -> int:
        """Does the runs that are left.

        Args:
            engine: The engine that does the runs.
            replay: Whether to do the replays too; see `mtk.study.reruns.replays`.
            progress: Where progress is shown.
            max_runs: Maximum number of runs to start.

        Returns:
            0 if all runs are done (diverged ones too), 1 if some have failed, 75 if a signal, a
            full disk or `max_runs` stopped the sweep; the same call then continues.

        Raises:
            StudyError: If replays are not possible.
        """
        if replay:
            reruns.check_replays(self.grid)
        progress = progress or Progress()
        for line in self.remarks:
            progress.say(line)
        try:
            with noted() as signals, engine:
                scheduler = Scheduler(
                    self.folder, engine, signals, self._estimate(), progress, max_runs
                )
                complete = self._do_all(scheduler, replay)
        finally:
            progress.close()
        for line in aligned(scheduler.best) if scheduler.best else ():
            progress.say(line)
        return self._report(scheduler) if complete else self._stopped(scheduler)

    def _do_all(self, scheduler: Scheduler, replay: bool) -> bool:
        """Does both stages and the replays; returns False if the sweep was stopped."""
        progress = scheduler.progress
        scheduler.later = self._known()[1]
        if not self._do(scheduler, self.runs):
            return False
        scheduler.later = 0
        second = reruns.measured_again(self.grid, self.runs, self.folder)
        if not self._do(scheduler, self._new(second, progress)):
            return False
        return not replay or self._do(scheduler, self._replays(second, progress))

    def _known(self) -> tuple[list[Run], int]:
        """Returns the known runs, and the maximum number of further runs."""
        if any(self.folder.state(run.hash) not in summary.DONE for run in self.runs):
            return self.runs, reruns.most_measured(self.study, self.methods)
        more = reruns.measured_again(self.grid, self.runs, self.folder)
        return distinct([*self.runs, *more])[0], 0

    def _replays(self, second: Sequence[Run], progress: Progress) -> list[Run]:
        """Returns the replays; reports those that are not possible."""
        known = distinct([*self.runs, *second])[0]
        replays, said = reruns.replays(self.grid, known, self.folder)
        self._say(said, progress)
        return [run for run in self._new([*second, *replays], progress) if run in replays]

    def _new(self, more: Sequence[Run], progress: Progress) -> list[Run]:
        """Returns the runs that are not in the first stage; reports those that are."""
        every, again = distinct([*self.runs, *more])
        self._say(summary.repeated(again), progress)
        return every[len(self.runs) :]

    def _say(self, lines: Sequence[str], progress: Progress) -> None:
        """Shows lines to the user and keeps them with the list of runs for readers of the study."""
        for line in (line for line in lines if line not in self.remarks):
            progress.say(line)
            self.remarks.append(line)

    def _do(self, scheduler: Scheduler, runs: Sequence[Run]) -> bool:
        self.folder.add(self.study, runs, self.remarks)
        for run in runs if self.retry_failed else ():
            self.folder.reset_failed(run.hash)
        return scheduler.do(runs)

    def _estimate(self) -> Estimate:
        minutes = self.study.run_minutes
        expected = None if minutes is None else 60 * minutes
        return Estimate(self.folder.run_log.seconds(), self.runs, expected)

    def _stopped(self, scheduler: Scheduler) -> int:
        text = "Stopped. Run the same command again to continue."
        if scheduler.ended_by is End.MAX_RUNS:
            done = counted(scheduler.max_runs or 0, "run")
            text = f"Stopped after {done}. Run the same command again to do more runs."
        elif scheduler.ended_by is End.DISK:
            free = resources.free(self.folder.path) / 1e6
            text = (
                f"The disk of {self.folder.path} is full: {free:.1f} MB are free. No run has "
                "failed because of this; free some space and run the same command again to "
                "continue."
            )
        scheduler.progress.say(text)
        return 75

    def _report(self, scheduler: Scheduler) -> int:
        say, counts = scheduler.progress.say, Counter(scheduler.states.values())
        for run, state in scheduler.states.items():
            if state in (State.FAILED, State.DAMAGED):
                say(f"{run}: {self.folder.reason(run)}\n  {self.folder.log(run)}", "red")
        failed, damaged = counts[State.FAILED], counts[State.DAMAGED]
        say(
            f"{counted(counts[State.FINISHED], 'run')} finished, "
            f"{counts[State.DIVERGED]} diverged, {failed} failed"
            f"{f', {damaged} damaged' * bool(damaged)}."
        )
        if failed and not self.retry_failed:
            say("To repeat failed runs, add --retry_failed.")
        if failed or damaged:
            return 1
        say(f"Report: python -m mtk.report --study_dir={self.folder.path} --out=report")
        return 0


def sweep(
    study: Study,
    study_dir: str | Path | None,
    engine: Callable[[], Engine] = Local,
    folders: Sequence[str | Path] = (),
    retry_failed: bool = False,
    replay: bool = False,
    dry_run: bool = False,
    only: Sequence[str] = (),
    max_runs: int | None = None,
) -> int:
    """Runs a study, or what is left of it.

    Before the first run, everything that the runs need is built once; see `mtk.study.checking`.

    Args:
        study: What to run.
        study_dir: Output folder: new, or that of this study.
        engine: Factory of the engine that does the runs.
        folders: Where to search for the files of the study, before the working directory.
        retry_failed: Whether to repeat failed runs.
        replay: Whether to do the replays too.
        dry_run: Whether to only print the runs, and write nothing.
        only: Labels of the methods whose runs are done; all by default.
        max_runs: Maximum number of runs to start.

    Returns:
        The exit code; see `Sweep.go`.

    Raises:
        StudyError: If the study cannot be run, or the folder holds another one.
        ValueError: If the engine has a wrong argument.
    """
    if study_dir is None and not dry_run:
        raise StudyError("A study needs an output folder. Give one: --study_dir=PATH.")
    made = Sweep(study, study_dir or Path("studies") / study.name, folders, retry_failed, only)
    chosen = engine()
    if replay:
        reruns.check_replays(made.grid)
    if dry_run:
        print(made.describe(chosen.slots))
        return 0
    progress = Progress()
    checking.check(made.runs, made.folder, progress, retry_failed)
    return made.go(chosen, replay, progress, max_runs)
