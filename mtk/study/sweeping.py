"""Does the runs of a study that are not done yet."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mtk import disk
from mtk.errors import StudyError
from mtk.study import checking, follow_ups, overview
from mtk.study.board import Board
from mtk.study.description import Study
from mtk.study.engines import Engine, Local
from mtk.study.estimate import Estimate
from mtk.study.expansion import Expansion, Run, distinct
from mtk.study.folder import State, StudyFolder
from mtk.study.scheduler import Scheduler
from mtk.study.stopping import Stopping


class Sweep:
    """A study in its folder.

    Everything that can be checked without doing a run is checked when it is made.

    Args:
        study: What to run.
        study_dir: Folder to write; new, or the one of this study.
        folders: Where to look for the study's files, before the working directory.
        retry_failed: Whether to do again what has failed.

    Raises:
        StudyError: If the study cannot be run, or the folder holds another one.
    """

    def __init__(
        self,
        study: Study,
        study_dir: str | Path,
        folders: Sequence[str | Path] = (),
        retry_failed: bool = False,
    ):
        follow_ups.check_second_stage(study)
        self.study = study
        self.folder = StudyFolder(study_dir)
        self.expansion = Expansion(study, folders)
        self.runs, again = distinct(self.expansion.runs())
        self.remarks = [*overview.repeated(again), *self.expansion.unread()]
        self.folder.listed(study)
        self.retry_failed = retry_failed

    def describe(self, slots: int) -> str:
        """Returns the table of runs, their number and the estimated time; nothing is written.

        Args:
            slots: Runs at a time.
        """
        runs, later = self._known()
        states = {run.hash: self.folder.state(run.hash) for run in runs}
        todo = [run for run in runs if states[run.hash] not in overview.DONE]
        return "\n".join(
            [
                *overview.table(runs, states),
                "",
                *self.remarks,
                *overview.numbers(self.study, runs, states, later),
                overview.time_left([*todo, *runs[:1] * later], self._estimate(), slots),
            ]
        )

    def go(self, engine: Engine, replay: bool = False, board: Board | None = None) -> int:
        """Does what is left to do.

        Args:
            engine: What does the runs.
            replay: Whether to do the replays too; see `mtk.study.follow_ups.replays`.
            board: Where progress is shown.

        Returns:
            0 if all runs are done (diverged ones too), 1 if some have failed, 75 if a signal or a
            full disk has stopped the sweep: then the same call goes on.

        Raises:
            StudyError: If there can be no replay.
        """
        if replay:
            follow_ups.check_replays(self.expansion)
        board = board or Board()
        for line in self.remarks:
            board.say(line)
        with Stopping() as stopping, engine:
            scheduler = Scheduler(self.folder, engine, stopping, self._estimate(), board)
            scheduler.later = self._known()[1]
            if not self._do(scheduler, self.runs):
                return self._stopped(scheduler, board)
            scheduler.later = 0
            second = follow_ups.measured_again(self.expansion, self.runs, self.folder)
            if not self._do(scheduler, self._new(second, board)):
                return self._stopped(scheduler, board)
            if replay and not self._do(scheduler, self._replays(second, board)):
                return self._stopped(scheduler, board)
        return self._report(scheduler, board)

    def _known(self) -> tuple[list[Run], int]:
        """Returns the runs that are known, and how many more there will be at most."""
        if any(self.folder.state(run.hash) not in overview.DONE for run in self.runs):
            return self.runs, follow_ups.most_measured(self.study)
        more = follow_ups.measured_again(self.expansion, self.runs, self.folder)
        return distinct([*self.runs, *more])[0], 0

    def _replays(self, second: Sequence[Run], board: Board) -> list[Run]:
        """Returns the replays; says which ones there cannot be."""
        known = distinct([*self.runs, *second])[0]
        replays, said = follow_ups.replays(self.expansion, known, self.folder)
        self._say(said, board)
        return [run for run in self._new([*second, *replays], board) if run in replays]

    def _new(self, more: Sequence[Run], board: Board) -> list[Run]:
        """Returns the runs that are not among those of the first stage; says which ones are."""
        every, again = distinct([*self.runs, *more])
        self._say(overview.repeated(again), board)
        return every[len(self.runs) :]

    def _say(self, lines: Sequence[str], board: Board) -> None:
        """Tells the user and, with the list of runs, the readers of the study."""
        for line in (line for line in lines if line not in self.remarks):
            board.say(line)
            self.remarks.append(line)

    def _do(self, scheduler: Scheduler, runs: Sequence[Run]) -> bool:
        self.folder.add(self.study, runs, self.remarks)
        for run in runs if self.retry_failed else ():
            self.folder.forgive(run.hash)
        return scheduler.do(runs)

    def _estimate(self) -> Estimate:
        minutes = self.study.run_minutes
        expected = None if minutes is None else 60 * minutes
        return Estimate(self.folder.journal.seconds(), self.runs, expected)

    def _stopped(self, scheduler: Scheduler, board: Board) -> int:
        if scheduler.full:
            free = disk.free(self.folder.path) / 1e6
            board.say(
                f"No room on the disk of {self.folder.path}: {free:.1f} MB are free. No run has "
                "failed by that; the same command goes on when there is room."
            )
        else:
            board.say("Stopped. The same command goes on.")
        return 75

    def _report(self, scheduler: Scheduler, board: Board) -> int:
        counts = Counter(scheduler.states.values())
        for run, state in scheduler.states.items():
            if state in (State.FAILED, State.DAMAGED):
                board.say(f"{run}: {self.folder.reason(run)}\n  {self.folder.log(run)}")
        failed, damaged = counts[State.FAILED], counts[State.DAMAGED]
        board.say(
            f"{counts[State.FINISHED]} runs finished, {counts[State.DIVERGED]} diverged, "
            f"{failed} failed{f', {damaged} damaged' * bool(damaged)}."
        )
        if failed:
            board.say("What has failed is done again with --retry_failed.")
        if failed or damaged:
            return 1
        board.say(f"Report: python -m mtk.report --study_dir={self.folder.path} --out=report")
        return 0


def sweep(
    study: Study,
    study_dir: str | Path | None,
    engine: Callable[[], Engine] = Local,
    folders: Sequence[str | Path] = (),
    retry_failed: bool = False,
    replay: bool = False,
    dry_run: bool = False,
) -> int:
    """Does the runs of a study that are not done yet.

    Before the first one, what the runs need is built once; see `mtk.study.checking`.

    Args:
        study: What to run.
        study_dir: Folder to write; new, or the one of this study.
        engine: Factory of what does the runs.
        folders: Where to look for the study's files, before the working directory.
        retry_failed: Whether to do again what has failed.
        replay: Whether to do the replays too.
        dry_run: Print the runs instead, and write nothing.

    Returns:
        The exit code; see `Sweep.go`.

    Raises:
        StudyError: If the study cannot be run, or the folder holds another one.
        ValueError: If the engine has a wrong argument.
    """
    if study_dir is None and not dry_run:
        raise StudyError("A study needs a folder to write. Name one: --study_dir=PATH.")
    made = Sweep(study, study_dir or Path("studies") / study.name, folders, retry_failed)
    chosen = engine()
    if replay:
        follow_ups.check_replays(made.expansion)
    if dry_run:
        print(made.describe(chosen.slots))
        return 0
    board = Board()
    checking.check(made.runs, made.folder, board, retry_failed)
    return made.go(chosen, replay, board)
