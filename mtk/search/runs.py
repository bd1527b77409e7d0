"""The runs of a search, in its folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtk.search.rounds import Rounds
from mtk.search.space import Point
from mtk.search.spec import Search
from mtk.study import Grid, Run, StudyFolder, reruns
from mtk.study.scheduler import Scheduler


class SearchRuns:
    """Creates the runs of a search and passes them to a scheduler.

    Args:
        search: The search.
        study_dir: Output folder: new, or that of this search.
        folders: Where to search for the files of the search, before the working directory.
        retry_failed: Whether to repeat failed runs.

    Raises:
        StudyError: If the search cannot be run, or the folder holds another one.
    """

    def __init__(
        self,
        search: Search,
        study_dir: str | Path,
        folders: Sequence[str | Path] = (),
        retry_failed: bool = False,
    ):
        self.search = search
        self.study = search.study
        reruns.check_second_stage(self.study)
        self.folder = StudyFolder(study_dir)
        self.grid = Grid(self.study, folders)
        self.retry_failed = retry_failed
        self.rounds = Rounds(self.folder, search.record)
        # Every choice and both ends of each range are checked, to find errors before any run.
        points = search.space.samples(search.first_point)
        self.samples = [run for point in points for run in self.of(point)]
        if search.space.weights:
            self.grid.check_reads(search.method, search.space.weights)
        self.folder.listed(self.study)
        self.remarks = self.grid.unread()

    def of(self, point: Mapping[str, Any]) -> list[Run]:
        """Returns the runs of a point, one for each seed."""
        return [self.grid.run(self.search.method, {**point}, seed) for seed in self.search.seeds]

    def do(self, scheduler: Scheduler, runs: Sequence[Run], pause_at: int | None = None) -> bool:
        """Does runs up to a pause, or to their end; returns False if the search is stopped."""
        self.folder.add(self.study, runs, self.remarks)
        for run in runs if self.search.pauses else ():
            self.folder.set_pause(run.hash, pause_at)
        for run in runs if self.retry_failed else ():
            self.folder.reset_failed(run.hash)
        return scheduler.do(runs, to_pause=pause_at is not None)

    def known(self, point: Point) -> Point:
        """Returns a point with the space's own values: JSON has no tuples."""
        choices = {
            name: next(v for v in values if json.loads(json.dumps(v)) == point[name])
            for name, values in self.search.space.choices.items()
        }
        return {**point, **choices}

    def as_told(self, losses: Mapping[str, float] | None) -> tuple[float, ...] | None:
        """Returns losses in the order of the space."""
        return None if losses is None else tuple(losses[task] for task in self.search.space.tasks)
