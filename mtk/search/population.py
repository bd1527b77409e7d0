"""Trains the runs of a search as a population; see `mtk.search.PBT`."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mtk import monitor
from mtk.errors import StudyError
from mtk.search import trials
from mtk.search.cooldown import BRANCH_FROM
from mtk.search.result import Tried
from mtk.search.runs import SearchRuns
from mtk.search.samplers import Trial
from mtk.search.samplers.base import seen
from mtk.search.space import Point
from mtk.study import Run, State
from mtk.study.scheduler import Scheduler

LABEL = "population"


class Member(NamedTuple):
    """A member of a population.

    Attributes:
        point: Values by the name of a parameter.
        run: The run that trains it from its last branch on.
        earlier: Its earlier points, each with the step at which it ended.
    """

    point: Point
    run: Run
    earlier: tuple[tuple[int, Point], ...] = ()


class Population:
    """Trains a population in the folder of its search.

    A member whose weights change becomes a new run. This run branches from the one that it copies
    and names it in its configuration, whose hash identifies the run. So a run's hash covers its
    whole training history, and no run folder is ever rewritten. Decisions at the end of an interval
    are written (`search.json`) before any run continues.

    Args:
        runs: The search's runs.
        scheduler: The scheduler that does the runs.
    """

    def __init__(self, runs: SearchRuns, scheduler: Scheduler):
        assert runs.search.pbt is not None
        self.runs, self.scheduler = runs, scheduler
        self.search, self.folder, self.pbt = runs.search, runs.folder, runs.search.pbt
        self.tried: dict[str, Tried] = {}
        self.selected: Member | None = None
        self.confirmed: list[Run] = []  # The last run of each fresh seed.

    def train(self) -> bool:
        """Does the intervals; returns False if the search was stopped."""
        members: list[Member] = self._first()
        step: int | None = self.pbt.interval
        ends: list[int] = []
        last: tuple[list[Member], int] | None = None
        for number in itertools.count(1):
            if not self._do(members, step):
                return False
            self._note(members, step)
            if last:
                self._forget(last[0], members, last[1])
            if step is None:
                break
            ends = ends or self._ends(members)
            after = self._next(members, step, number)
            self._say(members, after, step)
            last = (members, step)
            members, step = after, next((end for end in ends if end > step), None)
        self.selected = self._best(members)
        return True

    def confirm(self, seeds: Sequence[int]) -> bool:
        """Trains the selected schedule with fresh seeds, without any further selection."""
        if self.selected is None:
            return True
        runs: dict[int, Run | None] = dict.fromkeys(seeds)
        ended: dict[int, Run] = {}
        before = None
        for until, point in (*self.selected.earlier, (None, self.selected.point)):
            lasts = list(runs.values())
            for seed, last in runs.items():
                runs[seed] = self._run(point, (last, before) if last and before else None, seed)
            if not self._do([Member(point, run) for run in runs.values() if run], until):
                return False
            if before:
                parents = [Member(point, run) for run in lasts if run]
                self._forget(parents, [Member(point, run) for run in runs.values() if run], before)
            ended |= {seed: run for seed, run in runs.items() if run}
            # A diverged run has no state to continue from.
            runs = {s: r for s, r in runs.items() if r and (not until or self._has_state(r, until))}
            before = until
        self.confirmed = list(ended.values())
        return True

    @property
    def found(self) -> Tried | None:
        """The best member; None if there is none."""
        return self.tried[self.selected.run.hash] if self.selected else None

    def _first(self) -> list[Member]:
        """Returns the initial members, whose points the sampler proposes."""
        sampler = self.search.make_sampler()
        points = self.runs.rounds.get(0, lambda: sampler.ask(self.search.trials))
        members = [Member(point, self._run(point)) for point in map(self.runs.known, points)]
        if len({member.run.hash for member in members}) < self.search.trials:
            raise StudyError(
                "The sampler gives too few different points for the population. Use another "
                "sampler: `search.Search.sampler = @search.Sobol`."
            )
        return members

    def _run(
        self, point: Point, parent: tuple[Run, int] | None = None, seed: int | None = None
    ) -> Run:
        """Returns a run of a point, which starts from the pause of its parent."""
        branch = {BRANCH_FROM: (parent[0].hash, parent[1])} if parent else {}
        seed = self.search.seeds[0] if seed is None else seed
        return self.runs.grid.run(self.search.method, {**point, **branch}, seed, LABEL, "method")

    def _do(self, members: Sequence[Member], step: int | None) -> bool:
        runs = {member.run.hash: member.run for member in members}
        return self.runs.do(self.scheduler, list(runs.values()), step)

    def _forget(self, members: Sequence[Member], after: Sequence[Member], step: int) -> None:
        """Removes the checkpoints of pauses from which all branches have started."""
        states = [self.folder.state(member.run.hash) for member in after]
        if State.FAILED not in states and State.DAMAGED not in states:
            for member in members:
                self.folder.forget_pause(member.run.hash, step)

    def _ends(self, members: Sequence[Member]) -> list[int]:
        """Returns the steps at which intervals end, by the recorded length of the runs."""
        from mtk.experiment import Plan, rungs  # Takes seconds to import.

        paused = [self.folder.paused(m.run.hash, self.pbt.interval) for m in members]
        plans = [Plan(**said["plan"]) for said in paused if said]
        return rungs.ends(plans[0], self.pbt.interval) if plans else []

    def _has_state(self, run: Run, step: int) -> bool:
        return bool(self.folder.paused(run.hash, step))

    def _note(self, members: Sequence[Member], step: int | None) -> None:
        """Records the results of the members."""
        for member in members:
            losses = self._losses(member, step)
            paused_at = (
                step if losses and self.folder.state(member.run.hash) is State.PAUSED else None
            )
            dirs = [self.folder.run_dir(member.run.hash)]
            self.tried[member.run.hash] = Tried(
                member.point, losses, dirs, paused_at, schedule=member.earlier
            )

    def _losses(self, member: Member, step: int | None) -> dict[str, float] | None:
        return trials.losses(self.folder, [member.run], self.search.space.tasks, step)

    def _next(self, members: Sequence[Member], step: int, number: int) -> list[Member]:
        """Returns the population of the next interval; which members are copied is decided once."""

        def ask() -> list[dict[str, Any]]:
            points = [member.point for member in members]
            alive = [self._has_state(member.run, step) for member in members]
            costs = self._costs(members, step)
            after = self.pbt.advance(self.search.space, points, costs, alive, number)
            return [each._asdict() for each in after]

        found = []
        for place, said in enumerate(self.runs.rounds.get(number, ask)):
            member, parent = members[place], members[said["parent"]]
            if parent is not member:
                point = self.runs.known(said["point"])
                run = self._run(point, (parent.run, step))
                member = Member(point, run, (*parent.earlier, (step, parent.point)))
            found.append(member)
        return found

    def _costs(self, members: Sequence[Member], step: int | None) -> list[float]:
        """Returns the values that compare the members, lower is better; infinite if unknown."""
        said = [self.folder.selected(member.run.hash, step) for member in members]
        told = [self.runs.as_told(self._losses(member, step)) for member in members]
        known = [n for n, losses in enumerate(told) if losses is not None and said[n] is not None]
        costs = np.full(len(members), np.inf)
        if self.search.goal is None:
            costs[known] = monitor.compared([said[n] for n in known])  # type: ignore[misc]
        elif known:
            table = seen(self.search.space, [Trial(members[n].point, told[n]) for n in known])
            value = self.search.goal.value(table)
            costs[known] = [-value(row[None]) for row in table.losses]
        return [float(cost) for cost in costs]

    def _best(self, members: Sequence[Member]) -> Member | None:
        """Returns the best member; None if there is none."""
        costs = self._costs(members, None)
        best = int(np.argmin(costs))
        if not np.isfinite(costs[best]):
            return None
        losses = self.runs.as_told(self._losses(members[best], None))
        one = seen(self.search.space, [Trial(members[best].point, losses)])
        # The best may still violate the bound of a constraint.
        return members[best] if not self.search.goal or self.search.goal.chosen(one) else None

    def _say(self, members: Sequence[Member], after: Sequence[Member], step: int) -> None:
        costs, say = self._costs(members, step), self.scheduler.progress.say
        what = "goal" if self.search.goal else "monitor"
        finite = [cost for cost in costs if np.isfinite(cost)]
        told = (
            f"{what} {min(finite):.4g} to {max(finite):.4g}" if finite else "none has finite losses"
        )
        say(f"step {step}: population of {len(members)}, {told}")
        for before, member in zip(members, after, strict=True):
            if member is not before:
                values = trials.in_words(self.search.space, member.point)
                parent = member.run.point[BRANCH_FROM][0]
                say(f"  {before.run.hash[:8]} copies {parent[:8]}, with {values}")
