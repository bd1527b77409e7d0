"""What a search consists of: configurations, a space, a budget, a sampler and a goal."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any

from mtk import extras
from mtk.display import counted
from mtk.errors import StudyError, check_kinds
from mtk.search.cooldown import KEEP_PAUSES, Cooldown
from mtk.search.goals import Front, Goal
from mtk.search.pbt import PBT
from mtk.search.samplers import Sampler, TwoStage
from mtk.search.space import Space
from mtk.study import Study

METHOD = "static_weights"
RATE = "experiment.Optimization.learning_rate"
_OBJECT = "an object, such as mtk.search."
_KINDS: dict[str, tuple[Any, str]] = {
    "name": (str, "a text"),
    "configs": (Sequence, "a list of gin files, such as ['mine.gin']"),
    "space": (Space, "an mtk.search.Space"),
    "settings": (Mapping, "values by the name of a parameter"),
    "sampler": (Callable, "a class, such as mtk.search.TwoStage"),
    "goal": (Goal | None, f"{_OBJECT}Preference({{'a': 3, 'b': 1}})"),
    "cpu_seconds": (Real | None, "a number of seconds, or None"),
    "seeds": (Sequence, "a list of whole numbers, such as [0]"),
    "keep": (Real, "the share of the trials that goes on from a rung, between 0 and 1"),
    "cooldown": (Cooldown | None, f"{_OBJECT}Cooldown()"),
    "pbt": (PBT | None, f"{_OBJECT}PBT(interval=100)"),
    "files": (Sequence, "a list of gin files"),
}
MOST_CONFIRMED = 5  # Models that are run again with fresh seeds.


@dataclass(frozen=True)
class Search:
    """A search for the weights, and other parameters, that are needed.

    Attributes:
        name: Of the search.
        configs: Gin files of every run, the later overlaying the earlier. Files are looked for
            beside the search's file, then in the working directory.
        space: What is varied.
        runs: The budget: how many runs there are at most, those that confirm and those that stop
            at a rung included.
        settings: Bindings of every run, by name.
        sampler: Makes the sampler; called with `space`, `goal` and `budget`.
        goal: What is looked for; None: the front.
        cpu_seconds: Budget in seconds of CPU time, of all runs together; None: without.
        rungs: Steps, the earliest first, at which trials are compared: only the best go on, from
            where they stand. A run compares at its first evaluation there or after it. Without any
            each trial goes to its end.
        keep: Share of the trials that goes on from a rung; see `mtk.search.halving.Halving`.
        cooldown: How runs cool down at the rungs and at their end; None: they do not. The steps of
            cooldowns at rungs are paid for from the budget, as parts of a run.
        pbt: Trains the runs as a population, whose weights change on the way; `sampler` places the
            first ones. Without a `goal` the members are compared by the runs' own `monitor`.
        at_a_time: Trials that are asked for together. They may run at the same time; the results
            of all count when the next ones are placed, so it is a part of the search.
        seeds: Values of the macro `seed`; each trial has a run for each, and their mean counts.
        confirm: How many fresh seeds the models that are found are run with again, five models at
            most.
        run_minutes: How long one run takes, until that has been measured.
        method: Label of what trains; static weights by default.
        files: Gin files of that method, which overlay `configs`.
    """

    name: str
    configs: Sequence[str]
    space: Space
    runs: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    sampler: Callable[..., Sampler] = TwoStage
    goal: Goal | None = None
    cpu_seconds: float | None = None
    at_a_time: int = 1
    seeds: Sequence[int] = (0,)
    confirm: int = 0
    rungs: Sequence[int] = ()
    keep: float = 1 / 3
    cooldown: Cooldown | None = None
    pbt: PBT | None = None
    run_minutes: float | None = None
    method: str = METHOD
    files: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Checks what can be checked without the configurations.

        Raises:
            StudyError: If the budget is too small for one trial, or a number does not fit.
        """
        extras.check("A search", "search", ("pandas", "scipy", "moocore"))
        check_kinds(self, _KINDS)
        if type(self.at_a_time) is not int or self.at_a_time < 1:
            raise StudyError(f"`at_a_time` is a number, 1 or more. Received: {self.at_a_time!r}")
        if type(self.confirm) is not int or self.confirm < 0:
            raise StudyError(f"`confirm` is a number, 0 or more. Received: {self.confirm!r}")
        if type(self.runs) is not int:
            raise StudyError(
                "`runs` is a number, of all runs of the search; `cpu_seconds` may end it before. "
                f"Received: {self.runs!r}"
            )
        self._check_rungs()
        if self.pbt is not None:
            self._check_population()
        self.study  # noqa: B018  It checks seeds and settings.
        self.looked_for.check(self.space.tasks)
        if self.trials < 1:
            raise StudyError(
                f"The budget of {counted(self.runs, 'run')} is less than {self._least_in_words}. "
                "Allow more `runs`, or fewer `seeds` or `confirm`."
            )
        if self.cpu_seconds is not None and not self.cpu_seconds > self._least_seconds:
            raise StudyError(
                f"The budget of {self.cpu_seconds!r} CPU seconds is less than "
                f"{self._least_in_words} ({self._least_seconds:g} s by `run_minutes`). Allow more, "
                "or fewer `seeds` or `confirm`."
            )

    def _check_rungs(self) -> None:
        rungs = self.rungs if isinstance(self.rungs, (list, tuple)) else [None]
        whole = all(type(rung) is int and rung > 0 for rung in rungs)
        if not whole or [*rungs] != sorted(set(rungs)):
            raise StudyError(
                "`rungs` are numbers of steps, each larger than the one before. "
                f"Received: {self.rungs!r}"
            )
        if not 0 < self.keep < 1:
            raise StudyError(
                f"`keep` is the share of the trials that goes on from a rung, between 0 and 1. "
                f"Received: {self.keep!r}"
            )

        if self.cooldown is not None and not rungs:
            raise StudyError(
                "A `cooldown` is for comparing at rungs. Set `rungs`, or leave it out."
            )

    def _check_population(self) -> None:
        if not self.space.weights:
            raise StudyError(
                "A population changes task weights while it trains, and the space has none. Name "
                "the parameter that takes them, `search.Space.weights`, or search without `pbt`."
            )
        wrong = {
            "rungs": bool(self.rungs),
            "at_a_time": self.at_a_time != 1,
            "cpu_seconds": self.cpu_seconds is not None,
            "more than one of `seeds`": len(self.seeds) > 1,
            "a goal that is a front": isinstance(self.goal, Front),
            "a goal that needs a task alone": bool(self.looked_for.alone(self.space.tasks)),
        }
        if unfit := [name for name, is_there in wrong.items() if is_there]:
            raise StudyError(
                "The runs of a population are trained together, each to its end, towards one "
                f"number: `pbt` goes without {' and '.join(unfit)}."
            )
        if self.trials < 2:
            raise StudyError(
                "A population has two runs or more, since they copy one another. Allow more "
                f"`runs`, or less to `confirm`. Received: runs={self.runs}, confirm={self.confirm}"
            )

    @property
    def _least_seconds(self) -> float:
        return 60 * (self.run_minutes or 0.0) * (len(self.seeds) + self.reserved)

    @property
    def _least_in_words(self) -> str:
        confirming = f" and {self.reserved} to confirm" if self.reserved else ""
        return f"the {counted(len(self.seeds), 'run')} of one trial{confirming}"

    @property
    def pauses(self) -> bool:
        """Whether runs pause on the way."""
        return bool(self.rungs) or self.pbt is not None

    @property
    def check_of_runs(self) -> Callable[[Any], None] | None:
        """What checks, before any run, that runs can pause, branch and be compared as they are to.

        See `mtk.experiment.check`.
        """
        from mtk.experiment import branch_checks, rungs  # Takes seconds.

        if self.pbt is not None:
            return branch_checks.Population(self.pbt.interval, RATE in self.space.others)
        if self.cooldown is not None:
            pauses = [self.cooldown.pause(rung) for rung in self.rungs]
            return branch_checks.Trunk(pauses, self.rungs)
        return functools.partial(rungs.check, rungs=tuple(self.rungs)) if self.rungs else None

    @property
    def looked_for(self) -> Goal:
        """The goal; the front if none is given."""
        return self.goal or Front()

    @property
    def reserved(self) -> int:
        """The runs of the budget that are kept for confirming."""
        return self.confirm * (MOST_CONFIRMED if self.pbt is None else 1)

    @property
    def trials(self) -> int:
        """The number of trials that the budget allows."""
        return (self.runs - self.reserved) // max(1, len(self.seeds))

    @property
    def study(self) -> Study:
        """The study that the runs belong to."""
        branches = self.pbt is not None or self.cooldown is not None
        return Study(
            name=self.name,
            configs=self.configs,
            methods={self.method: self.files},
            settings={**self.settings, **({KEEP_PAUSES: True} if branches else {})},
            grid={name: [value] for name, value in self.make_sampler().ask(1)[0].items()},
            seeds=self.seeds,
            fresh_seeds=self.confirm,
            baseline=self.method if self.space.weights else None,
            weights=self.space.weights or Study.weights,
            run_minutes=self.run_minutes,
        )

    def make_sampler(self) -> Sampler:
        """Returns a sampler that was told nothing yet."""
        return self.sampler(space=self.space, goal=self.looked_for, budget=max(1, self.trials))

    @property
    def record(self) -> dict[str, Any]:
        """What tells the search from another one, fit for JSON; the budget does not."""
        sampler = type(self.make_sampler()).__name__
        numbers: dict[str, Any] = {"seeds": list(self.seeds), "at_a_time": self.at_a_time}
        numbers["settings"] = {name: repr(value) for name, value in sorted(self.settings.items())}
        if self.rungs:
            numbers |= {"rungs": list(self.rungs), "keep": self.keep}
        if self.cooldown:
            numbers["cooldown"] = asdict(self.cooldown)
        if self.pbt:
            numbers |= {"pbt": asdict(self.pbt), "population": self.trials}
        return {"sampler": sampler, **numbers, **self.looked_for.record, "space": self.space.record}
