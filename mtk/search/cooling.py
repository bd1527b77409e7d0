"""Does the cooldowns of a search; see `mtk.search.Cooldown`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtk.search import trials
from mtk.search.cooldown import BRANCH_FROM
from mtk.search.pausing import Pausing
from mtk.search.result import Tried
from mtk.search.runs import SearchRuns
from mtk.search.space import Point
from mtk.study import Run, State
from mtk.study.scheduler import Scheduler


class Cooling(Pausing):
    """Makes trunks pause and branches off them cool down; trials are judged by the branches."""

    def __init__(self, runs: SearchRuns, scheduler: Scheduler):
        assert runs.search.cooldown is not None
        super().__init__(runs, scheduler)
        self.cooldown = runs.search.cooldown
        # By the hash of a trunk: its branches so far, the run by which it is judged, and the cost
        # of its cooldowns at rungs.
        self._branches: dict[str, list[Run]] = {}
        self._judged: dict[str, Run] = {}
        self._costs: dict[str, float] = {}

    def do(self, runs: Sequence[Run], rung: int | None) -> bool:
        """See `Pausing.do`: does trunks and the branches off them."""
        first = self.search.rungs[0]
        # A trunk that ended early before the first rung, such as by `patience`, does not continue.
        on = [trunk for trunk in runs if rung == first or self._paused(trunk, first)]
        ends = {trunk.hash: rung or self._length(trunk) for trunk in on}
        # Trunks of different lengths, if the length is searched, pause at different steps.
        for end in dict.fromkeys(ends.values()):
            own = [trunk for trunk in on if ends[trunk.hash] == end]
            if not self.runs.do(self.scheduler, own, self.cooldown.pause(end)):
                return False
        branches = {t.hash: branch for t in on if (branch := self._branch(t, ends[t.hash]))}
        if not self.runs.do(self.scheduler, list(branches.values())):
            return False
        for trunk in runs:
            self._judged[trunk.hash] = branch = branches.get(trunk.hash, trunk)
            if branch is not trunk:
                self._account(trunk, branch, rung)
        return True

    def tried(self, point: Point, runs: Sequence[Run], rung: int | None) -> Tried:
        """See `Pausing.tried`: a trunk that ended before its pause counts with its own result.

        Args:
            point: The point of the trial.
            runs: Its trunks.
            rung: The rung at which it is judged.
        """
        judged = [self._judged[trunk.hash] for trunk in runs]
        losses = trials.losses(self.folder, judged, self.search.space.tasks)
        all_of_it = [run for trunk in runs for run in (trunk, *self._branches.get(trunk.hash, []))]
        further = [self._dir(run) for run in all_of_it if run not in judged]
        cost = 1 + sum(self._costs.get(trunk.hash, 0.0) for trunk in runs) / len(runs)
        paused_at = rung if losses else None
        return Tried(point, losses, [*map(self._dir, judged)], paused_at, further, cost)

    def _branch(self, trunk: Run, end: int) -> Run | None:
        """Returns the run that cools down from the pause of a trunk; None if it has not paused."""
        begin = self._paused(trunk, end).get("steps")
        if begin is None:
            return None
        branch = {BRANCH_FROM: (trunk.hash, self.cooldown.pause(end))}
        point = {**trunk.point, **self.cooldown.bindings(begin, end), **branch}
        return self.runs.grid.run(self.search.method, point, trunk.seed)

    def _account(self, trunk: Run, branch: Run, rung: int | None) -> None:
        self._branches.setdefault(trunk.hash, []).append(branch)
        if self.folder.state(branch.hash) in (State.FINISHED, State.DIVERGED):
            self.folder.forget_pause(*branch.point[BRANCH_FROM])
        if rung is not None:  # The last cooldown is part of the run itself.
            steps = rung - self._paused(trunk, rung)["steps"]
            before = self._costs.get(trunk.hash, 0.0)
            self._costs[trunk.hash] = before + steps / self._length(trunk)

    def _paused(self, trunk: Run, end: int) -> dict[str, Any]:
        return self.folder.paused(trunk.hash, self.cooldown.pause(end))

    def _length(self, trunk: Run) -> int:
        """Returns the steps of a full run, as recorded by its trunk at the first rung."""
        return int(self._paused(trunk, self.search.rungs[0])["plan"]["steps"])

    def _dir(self, run: Run) -> Path:
        return self.folder.run_dir(run.hash)
