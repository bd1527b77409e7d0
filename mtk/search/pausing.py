"""Makes runs pause at the rungs of a search."""

from collections.abc import Sequence

from mtk.search import trials
from mtk.search.result import Tried
from mtk.search.runs import SearchRuns
from mtk.search.space import Point
from mtk.study import Run
from mtk.study.scheduler import Scheduler


class Pausing:
    """Makes runs pause at rungs, where they are judged without a cooldown.

    Args:
        runs: The search's runs.
        scheduler: The scheduler that does the runs.
    """

    def __init__(self, runs: SearchRuns, scheduler: Scheduler):
        self.runs, self.scheduler = runs, scheduler
        self.search, self.folder = runs.search, runs.folder

    def do(self, runs: Sequence[Run], rung: int | None) -> bool:
        """Does runs up to a rung, or to their end; returns False if the search is stopped.

        Args:
            runs: The runs.
            rung: A step; None for the end.
        """
        return self.runs.do(self.scheduler, runs, rung)

    def tried(self, point: Point, runs: Sequence[Run], rung: int | None) -> Tried:
        """Returns the result of a trial.

        Args:
            point: The point of the trial.
            runs: Its runs, one for each seed.
            rung: The rung at which it is judged; None for its end.
        """
        losses = trials.losses(self.folder, runs, self.search.space.tasks, rung)
        folders = [self.folder.run_dir(run.hash) for run in runs]
        return Tried(point, losses, folders, rung if losses else None)
