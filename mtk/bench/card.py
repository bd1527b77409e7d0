"""Task cards, which define what all entries of a benchmark have in common."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtk import config, extras, monitor
from mtk.display import counted
from mtk.errors import StudyError
from mtk.search import Preference, Search, Space, TwoStage
from mtk.search.spec import METHOD, MOST_CONFIRMED
from mtk.study import Grid, Run

# Number of fresh seeds with which every model is measured.
SEEDS = 5
MODELS = MOST_CONFIRMED
# The cost of exact hypervolumes is exponential in the tasks, and hardly any model dominates.
MOST_TASKS = 5
_LEAST_WEIGHT = 0.05
_TUNED = 5  # Runs that tune a learning rate.
_SEALED = {"experiment.Training.test": "sealed"}
# An entry is named after its folder, which is next to these.
LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
STATIC_RUN, METHODS = "static_run", "methods"


@dataclass(frozen=True)
class Card:
    """A task, its budget, and how entries are compared.

    Attributes:
        name: Name of the task.
        configs: Gin files of every run: workload, network, length. Later files override earlier
            ones. Files are searched next to the card, then in the working directory; names in an
            included file also next to that file.
        metrics: The metric of each task by which entries are ranked; `(metric, "max")` if its class
            does not define its direction.
        methods: The gin file (or files) of each method other than static weights, by label.
        settings: Bindings of every run, by name.
        places: Names of settings that only give the location of the data.
        data: The fingerprint of the data, by split, as recorded by runs; if empty, that of the
            scorer's data counts.
        log_uniform: Lowest and highest value of each parameter that is tuned on a logarithmic
            scale, for static weights and methods alike.
        choices: Values of tuned categorical parameters.
        method_choices: The same for parameters of one method, by its label.
        configurations: Number of configurations to try. A method can spend the CPU seconds of this
            many static runs; one whose runs take twice as long tries half as many.
        at_a_time: Number of runs that are proposed together, and can run at the same time.
        delta: Differences that are too small to matter, in widths of the front of static weights.
        reads: Number of submissions of one entry that are scored.
        weights: The parameter of static weights.
    """

    name: str
    configs: Sequence[str]
    metrics: Mapping[str, Any]
    methods: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    places: Sequence[str] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    log_uniform: Mapping[str, Sequence[float]] = field(default_factory=dict)
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    method_choices: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)
    configurations: int = 20
    at_a_time: int = 2
    delta: float = 0.05
    reads: int = 3
    weights: str = "combiners.StaticWeights.weights"

    def __post_init__(self) -> None:
        """Raises a StudyError if a value is invalid."""
        extras.check("A benchmark", "search", ("pandas", "scipy", "moocore", "jinja2"))
        for name, least in (("configurations", 1), ("at_a_time", 1), ("reads", 1)):
            given = getattr(self, name)
            if type(given) is not int or given < least:
                raise StudyError(
                    f"`{name}` must be an integer, {least} or more. Received: {given!r}"
                )
        if not 0 < self.delta < 1:
            raise StudyError(f"`delta` must be above 0 and below 1. Received: {self.delta!r}")
        for label in self.methods:
            check_label(label)
        if METHOD in self.methods:
            raise StudyError(f"{METHOD!r} is entry 0 of every card. Leave it out of `methods`.")
        for task in self.metrics:
            self.metric(task)
        unknown = [*({*self.method_choices} - {*self.methods, METHOD})]
        if unknown:
            raise StudyError(f"`method_choices` names {unknown[0]!r}, which is not in `methods`.")
        unset = [name for name in self.places if name not in self.settings]
        if unset:
            raise StudyError(
                f"`places` names {unset[0]!r}, which is not in `settings`. Set it there."
            )
        self.search(METHOD)

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return list(self.metrics)

    def metric(self, task: str) -> tuple[str, str | None]:
        """Returns the name of a task's metric and its direction, None if its class defines it.

        Raises:
            StudyError: If it has another form.
        """
        given = self.metrics[task]
        name, way = given if isinstance(given, (tuple, list)) and len(given) == 2 else (given, None)
        if not isinstance(name, str) or way not in (None, *monitor.DIRECTIONS):
            raise StudyError(
                f"The metric of {task!r} must be a name, (name, 'min') or (name, 'max'). "
                f"Received: {given!r}"
            )
        return name, way

    def files(self, method: str) -> list[str]:
        """Returns the gin files of a method of the card, or of one given as a gin file."""
        found = self.methods.get(method, [method] if method.endswith(".gin") else [])
        return [found] if isinstance(found, str) else list(found)

    def search(
        self,
        label: str,
        files: Sequence[str] = (),
        cpu_seconds: float | None = None,
        confirmed: int | None = None,
    ) -> Search:
        """Returns the search of an entry: for the front, or with many tasks for the best mean.

        Args:
            label: Label of the entry.
            files: Gin files of its method.
            cpu_seconds: CPU budget of its tuning.
            confirmed: Number of its trials so far, if its models should be measured now.
        """
        static = label == METHOD
        space = Space(
            tasks=self.tasks,
            weights=self.weights if static else None,
            least_weight=min(_LEAST_WEIGHT, 0.5 / max(1, len(self.tasks))),
            log_uniform=self.log_uniform,
            choices={**self.choices, **self.method_choices.get(label, {})},
        )
        measuring = 0 if confirmed is None else SEEDS
        return Search(
            name=f"{self.name} {label}",
            configs=self.configs,
            space=space,
            runs=(confirmed or self.configurations) + measuring * MODELS,
            settings={**self.settings, **_SEALED},
            sampler=functools.partial(TwoStage, tuning=self._tuning) if static else TwoStage,
            goal=Preference(dict.fromkeys(self.tasks, 1)) if len(self.tasks) > MOST_TASKS else None,
            cpu_seconds=cpu_seconds,
            at_a_time=self.at_a_time,
            confirm=measuring,
            method=label,
            files=files,
        )

    @property
    def _tuning(self) -> int:
        """The configurations that tune the parameters of static weights before the weights.

        Methods spend all of theirs on parameters, so this is more than the default of a search.
        """
        return max(1, self.configurations // 3)

    @property
    def remark(self) -> str:
        """A caveat about places above entry 0; empty if entry 0 was tuned well."""
        if self._tuning >= _TUNED:
            return ""
        runs = counted(self._tuning, "run")
        return (
            f"The budget is small: only {runs} tuned the hyperparameters of entry 0, including "
            "its learning rate, so better tuning alone may rank an entry above it."
        )

    def static_run(self, folders: Sequence[str | Path]) -> Run:
        """Returns a run of static weights, which has what all runs of the card have in common.

        Args:
            folders: Where to search for the files of the card, before the working directory.

        Raises:
            StudyError: If its configuration trains with another combiner, or is invalid.
        """
        search = self.search(METHOD)
        grid = Grid(search.study, folders)
        run = grid.run(METHOD, search.first_point, 0)
        grid.check_reads(METHOD, self.weights)
        return run

    def hash(self, folders: Sequence[str | Path]) -> str:
        """Returns a hash that identifies the card, regardless of the location of the data.

        Args:
            folders: See `static_run`.
        """
        # None is not a location: a network without a file of weights is not pretrained.
        located = [name for name in self.places if self.settings[name] is not None]
        settings = {**self.settings, **dict.fromkeys(located, "location")}
        run = dataclasses.replace(self, settings=settings).static_run(folders)
        about = {
            "name": self.name,
            "bindings": config.Draft.of(run.lines).bindings(),
            "metrics": {task: self.metric(task) for task in self.tasks},
            "space": self.search(METHOD).space.record,
            "method_choices": {name: dict(own) for name, own in self.method_choices.items()},
            "configurations": self.configurations,
            "delta": self.delta,
        }
        text = json.dumps(about, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def check_label(label: str) -> None:
    """Raises a StudyError if a string cannot be the label of an entry."""
    if not LABEL.fullmatch(label) or label in (STATIC_RUN, METHODS):
        raise StudyError(
            f"{label!r} is not a valid name of an entry. Use at most 64 letters, digits, '_' "
            "and '-'."
        )
