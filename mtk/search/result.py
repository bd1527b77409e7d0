"""Results of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtk.display import aligned, counted
from mtk.search.goals import Goal, Seen
from mtk.search.samplers import Trial
from mtk.search.samplers.base import seen
from mtk.search.space import Point, Space

_NEAR_LIMIT = 0.1  # Of a parameter's range.


class Tried(NamedTuple):
    """A trial and its runs.

    Attributes:
        point: Values by the name of a parameter.
        losses: Mean validation loss of each task; None if a run diverged or failed.
        runs: Folders of its runs.
        paused_at: The rung at which it was stopped, to which the losses belong; None if it ran to
            the end.
        further: Folders of its additional runs: trunks, and cooldowns at rungs.
        cost: Cost in runs of full length.
        schedule: For a member of a population: its earlier points, each with the step at which it
            ended.
    """

    point: Point
    losses: Mapping[str, float] | None
    runs: Sequence[Path]
    paused_at: int | None = None
    further: Sequence[Path] = ()
    cost: float = 1.0
    schedule: Sequence[tuple[int, Point]] = ()


class Confirmed(NamedTuple):
    """A chosen trial that was run again with fresh seeds.

    Attributes:
        trial: The chosen trial.
        losses: Mean validation loss of each task over the fresh seeds; None if a run diverged or
            failed.
        runs: Folders of the runs, one for each fresh seed.
    """

    trial: Tried
    losses: Mapping[str, float] | None
    runs: Sequence[Path]


@dataclass(frozen=True)
class Found:
    """The trials of a search, and those that meet its goal.

    Attributes:
        study_dir: The study folder.
        space: What was varied.
        goal: The goal.
        trials: The trials in the order in which they were requested.
        exit_code: The exit code of the command; see `mtk.search`.
        selected: The best trial, if the monitor of the runs selects it instead of the goal.
        confirmed: The chosen trials that were run with fresh seeds; empty without `confirm`.
    """

    study_dir: Path
    space: Space
    goal: Goal
    trials: Sequence[Tried]
    exit_code: int
    selected: Tried | None = None
    confirmed: Sequence[Confirmed] = ()

    @property
    def chosen(self) -> list[Tried]:
        """The front, or the best one for a preference or a constraint; empty if there is none."""
        if self.selected is not None or not self.complete:
            return [self.selected] if self.selected is not None else []
        return [self.complete[number] for number in self.goal.chosen(self.seen)]

    @property
    def complete(self) -> list[Tried]:
        """The trials that ran to their end and have losses."""
        return [trial for trial in self.trials if trial.losses and trial.paused_at is None]

    @property
    def seen(self) -> Seen:
        """The complete trials in the form that goals accept."""
        tasks = self.space.tasks
        known = [Trial(t.point, tuple((t.losses or {})[k] for k in tasks)) for t in self.complete]
        return seen(self.space, known)

    @property
    def at_limits(self) -> list[str]:
        """A sentence for each parameter that lies near one end of its range in all of `chosen`."""
        if not self.chosen:
            return []
        places = np.array([self.space.coordinates(trial.point) for trial in self.chosen])
        ranges = {**self.space.log_uniform, **self.space.uniform}
        sides = zip(ranges.items(), places.min(0), places.max(0), strict=True)
        return [
            f"{name.rpartition('.')[2]} of all selected trials lies near the "
            f"{'upper' if least > 0.5 else 'lower'} end of its range, {low:g} to {high:g}. A wider "
            "range may contain better values."
            for (name, (low, high)), least, most in sides
            if least >= 1 - _NEAR_LIMIT or most <= _NEAR_LIMIT
        ]

    @property
    def fresh_seeds(self) -> list[str]:
        """Sentences about the results with fresh seeds; empty without `confirm`."""
        if not self.confirmed:
            return []
        said = [
            "loss: selection seeds; the trials were selected by it, so it tends to be too low. "
            f"fresh: mean over {counted(len(self.confirmed[0].runs), 'fresh seed')}."
        ]
        for trial, losses, _ in self.confirmed:
            run = trial.runs[0].name
            if losses is None:
                said.append(f"{run} has no mean: a run with a fresh seed diverged or failed.")
            elif broken := self.goal.broken(self.seen, losses):
                said.append(f"{run} breaks the bound with fresh seeds: {broken}")
        return said

    def __str__(self) -> str:
        """A table of the chosen trials, with a row for each part of a schedule, then caveats."""
        tasks = list(self.space.tasks)
        names = [name.rpartition(".")[2] for name in self.space.others]
        weighed = tasks if self.space.weights else []
        fresh = {each.trial.runs[0]: each.losses or {} for each in self.confirmed}
        again = tasks if self.confirmed else []
        results = [*(f"loss({t})" for t in tasks), *(f"fresh({t})" for t in again)]
        rows = [[*(f"w({t})" for t in weighed), *names, *results, "run"]]
        for trial in self.chosen:
            assert trial.losses is not None
            losses = [f"{trial.losses[task]:.4g}" for task in tasks]
            means = fresh.get(trial.runs[0], {})
            losses += [f"{means[task]:.4g}" if task in means else "" for task in again]
            rows += [
                [*shown(self.space, point), *[""] * len(losses), f"until step {step}"]
                for step, point in trial.schedule
            ]
            rows.append([*shown(self.space, trial.point), *losses, trial.runs[0].name])
        if len(rows) == 1:
            return "No trial meets the goal."
        caveats = [*self.fresh_seeds, *self.goal.doubts(self.seen), *self.at_limits]
        return "\n".join([*aligned(rows), *caveats])


def shown(space: Space, point: Mapping[str, Any]) -> list[str]:
    """Returns the weights and the other parameters of a point as strings."""
    weighed = list(space.weights_of(point)) if space.weights else []
    weights = [f"{weight:.3g}" for weight in weighed]
    return [*weights, *(str(value) for value in space.others_of(point).values())]
