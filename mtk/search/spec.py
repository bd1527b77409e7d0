"""Definition of a search: configurations, a space, a budget, a sampler and a goal."""

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
from mtk.search.space import Point, Space
from mtk.study import Study

METHOD = "static_weights"
RATE = "experiment.Optimization.learning_rate"
_OBJECT = "an object, such as mtk.search."
_KINDS: dict[str, tuple[Any, str]] = {
    "name": (str, "a string"),
    "configs": (Sequence, "a list of gin files, such as ['mine.gin']"),
    "space": (Space, "an mtk.search.Space"),
    "settings": (Mapping, "a dict from names of parameters to values"),
    "sampler": (Callable, "a class, such as mtk.search.TwoStage"),
    "goal": (Goal | None, f"{_OBJECT}Preference({{'a': 3, 'b': 1}})"),
    "cpu_seconds": (Real | None, "a number of seconds, or None"),
    "seeds": (Sequence, "a list of integers, such as [0]"),
    "keep": (Real, "the share of the trials that continue after a rung, between 0 and 1"),
    "cooldown": (Cooldown | None, f"{_OBJECT}Cooldown()"),
    "pbt": (PBT | None, f"{_OBJECT}PBT(interval=100)"),
    "files": (Sequence, "a list of gin files"),
}
MOST_CONFIRMED = 5  # Maximum number of models that are run again with fresh seeds.


@dataclass(frozen=True)
class Search:
    """A search for task weights and other parameters.

    Attributes:
        name: Name of the search.
        configs: Gin files of every run; later files override earlier ones. Files are searched next
            to the search file, then in the working directory; names in an included file also next
            to that file.
        space: The search space.
        runs: The budget: maximum number of runs, including those for confirmation and those that
            stop at a rung.
        settings: Bindings of every run, by name.
        sampler: Factory of the sampler; called with `space`, `goal` and `budget`.
        goal: The goal; None for the front.
        cpu_seconds: Budget in seconds of CPU time for all runs together; None for no limit.
        rungs: Increasing steps at which trials are compared; only the best continue, without
            repeating steps. A run is compared at its first evaluation at or after the step. Without
            rungs, each trial runs to the end.
        keep: Share of the trials that continue after a rung; see `mtk.search.halving.Halving`.
        cooldown: How runs cool down at the rungs and at their end; None if they do not. The steps
            of cooldowns at rungs count towards the budget, as fractions of a run.
        pbt: Trains the runs as a population, whose weights change during training; `sampler` places
            the initial ones. Without a `goal`, the members are compared by the `monitor` of the
            runs.
        at_a_time: Number of trials that are proposed together. They can run at the same time. The
            next ones are proposed when all results are known, so changing this number changes the
            search.
        seeds: Values of the macro `seed`; each trial has one run for each, and their mean counts.
        confirm: Number of fresh seeds with which the models that were found, at most five, are run
            again.
        run_minutes: Estimated duration of one run, used until runs have been measured.
        method: Label of the method; static weights by default.
        files: Gin files of that method, which override `configs`.
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
            StudyError: If the budget is too small for one trial, or a number is out of range.
        """
        extras.check("A search", "search", ("pandas", "scipy", "moocore"))
        check_kinds(self, _KINDS)
        if type(self.at_a_time) is not int or self.at_a_time < 1:
            raise StudyError(
                f"`at_a_time` must be an integer, 1 or more. Received: {self.at_a_time!r}"
            )
        if type(self.confirm) is not int or self.confirm < 0:
            raise StudyError(f"`confirm` must be an integer, 0 or more. Received: {self.confirm!r}")
        if type(self.runs) is not int:
            raise StudyError(
                "`runs` must be the total number of runs of the search (`cpu_seconds` may end "
                f"it earlier). Received: {self.runs!r}"
            )
        self._check_rungs()
        if self.pbt is not None:
            self._check_population()
        self.study  # noqa: B018  It checks seeds and settings.
        self.looked_for.check(self.space.tasks)
        if self.trials < 1:
            raise StudyError(
                f"The budget of {counted(self.runs, 'run')} is smaller than "
                f"{self._least_in_words}. Increase `runs`, or reduce `seeds` or `confirm`."
            )
        if self.cpu_seconds is not None and not self.cpu_seconds > self._least_seconds:
            raise StudyError(
                f"The budget of {self.cpu_seconds!r} CPU seconds is smaller than "
                f"{self._least_in_words} ({self._least_seconds:g} s according to `run_minutes`). "
                "Increase it, or reduce `seeds` or `confirm`."
            )

    def _check_rungs(self) -> None:
        rungs = self.rungs if isinstance(self.rungs, (list, tuple)) else [None]
        whole = all(type(rung) is int and rung > 0 for rung in rungs)
        if not whole or [*rungs] != sorted(set(rungs)):
            raise StudyError(
                f"`rungs` must be increasing numbers of steps. Received: {self.rungs!r}"
            )
        if not 0 < self.keep < 1:
            raise StudyError(
                "`keep` must be the share of the trials that continue after a rung, between 0 "
                f"and 1. Received: {self.keep!r}"
            )

        if self.cooldown is not None and not rungs:
            raise StudyError("`cooldown` needs `rungs`. Set `rungs`, or leave `cooldown` out.")

    def _check_population(self) -> None:
        if not self.space.weights:
            raise StudyError(
                "A population changes task weights during training, but the space has none. "
                "Set `search.Space.weights` to the parameter that takes them, or search without "
                "`pbt`."
            )
        wrong = {
            "rungs": bool(self.rungs),
            "at_a_time": self.at_a_time != 1,
            "cpu_seconds": self.cpu_seconds is not None,
            "more than one of `seeds`": len(self.seeds) > 1,
            "a goal that is a front": isinstance(self.goal, Front),
            "a goal that needs single-task runs": bool(self.looked_for.alone(self.space.tasks)),
        }
        if unfit := [name for name, is_there in wrong.items() if is_there]:
            raise StudyError(
                "The runs of a population are trained together to the end and compared by a "
                f"single number, so `pbt` cannot be combined with {' and '.join(unfit)}."
            )
        if self.trials < 2:
            raise StudyError(
                "A population needs two or more runs, since they copy each other. Increase "
                f"`runs`, or reduce `confirm`. Received: runs={self.runs}, confirm={self.confirm}"
            )

    @property
    def _least_seconds(self) -> float:
        return 60 * (self.run_minutes or 0.0) * (len(self.seeds) + self.reserved)

    @property
    def _least_in_words(self) -> str:
        confirming = f" and {self.reserved} for confirmation" if self.reserved else ""
        return f"the {counted(len(self.seeds), 'run')} of one trial{confirming}"

    @property
    def pauses(self) -> bool:
        """Whether runs pause before their end."""
        return bool(self.rungs) or self.pbt is not None

    @property
    def check_of_runs(self) -> Callable[[Any], None] | None:
        """The check, before any run, that runs can pause, branch and be compared as required.

        See `mtk.experiment.check`.
        """
        from mtk.experiment import branch_checks, rungs  # Takes seconds to import.

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
        """The runs of the budget that are reserved for confirming."""
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
            grid={name: [value] for name, value in self.first_point.items()},
            seeds=self.seeds,
            fresh_seeds=self.confirm,
            baseline=self.method if self.space.weights else None,
            weights=self.space.weights or Study.weights,
            run_minutes=self.run_minutes,
        )

    @property
    def first_point(self) -> Point:
        """The first point that the sampler proposes.

        Raises:
            StudyError: If the sampler proposes none.
        """
        sampler = self.make_sampler()
        if not (points := sampler.ask(1)):
            raise StudyError(
                f"The sampler {type(sampler).__name__} asks for no point at all, before anything "
                "was tried. Let `propose` return one, or take another: search.TwoStage."
            )
        return points[0]

    def make_sampler(self) -> Sampler:
        """Returns a new sampler without any trials."""
        return self.sampler(space=self.space, goal=self.looked_for, budget=max(1, self.trials))

    @property
    def record(self) -> dict[str, Any]:
        """The values that identify the search, as JSON values; the budget is not among them."""
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
