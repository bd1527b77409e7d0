"""The search space: task weights and other parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from mtk.errors import StudyError, check_kinds

Point = dict[str, Any]
_RANGES = (
    Mapping,
    "a dict from names of parameters to (lowest, highest), such as {'a': (0.1, 1.0)}",
)
_KINDS: dict[str, tuple[Any, str]] = {
    "tasks": (Sequence, "a list of the names of two or more tasks"),
    "weights": (str | None, "the name of the parameter that takes the weights, or None"),
    "least_weight": (Real, "a number"),
    "log_uniform": _RANGES,
    "uniform": _RANGES,
    "choices": (
        Mapping,
        "a dict from names of parameters to lists of choices, such as {'a': (1, 2)}",
    ),
}


@dataclass(frozen=True)
class Space:
    """The search space: ranges and choices of parameters or macros, by name as in a configuration.

    Attributes:
        tasks: Names of the tasks, whose weights lie on the simplex.
        weights: Parameter that takes `{task: weight}`; None if the method sets the weights itself,
            so that only the other parameters are searched.
        least_weight: Smallest weight of a task, except in single-task runs that a goal needs.
        log_uniform: Lowest and highest value of parameters on a logarithmic scale.
        uniform: Lowest and highest value of parameters on a linear scale.
        choices: The values of categorical parameters.
    """

    tasks: Sequence[str] = ()
    weights: str | None = "combiners.StaticWeights.weights"
    least_weight: float = 0.05
    log_uniform: Mapping[str, Sequence[float]] = field(default_factory=dict)
    uniform: Mapping[str, Sequence[float]] = field(default_factory=dict)
    choices: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises a StudyError if there are no weights to vary, or a parameter has no values."""
        check_kinds(self, _KINDS)
        if len(set(self.tasks)) < max(2, len(self.tasks)):
            raise StudyError(
                "`search.Space.tasks` must name two or more tasks, whose weights are searched. "
                f"Received: {self.tasks!r}"
            )
        if not 0 < self.least_weight < 1 / len(self.tasks):
            raise StudyError(
                f"`least_weight` must lie between 0 and 1/{len(self.tasks)}, the equal weight. "
                f"Received: {self.least_weight!r}"
            )
        for name, ends in (*self.uniform.items(), *self.log_uniform.items()):
            _check_ends(name, ends, name in self.log_uniform)
        for name, values in self.choices.items():
            if not isinstance(values, Sequence) or isinstance(values, str) or not values:
                raise StudyError(f"{name!r} needs a list of choices. Received: {values!r}")
        names = [*([self.weights] if self.weights else []), *self.others]
        odd = [name for name in (*self.tasks, *names) if not isinstance(name, str)]
        if odd:
            raise StudyError(f"Names of tasks and parameters must be strings. Received: {odd[0]!r}")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise StudyError(f"The space has {twice[0]!r} twice. Leave one of them out.")

    @property
    def others(self) -> list[str]:
        """Names of the parameters other than the weights."""
        return [*self.log_uniform, *self.uniform, *self.choices]

    @property
    def size(self) -> int:
        """The number of coordinates of a point."""
        return self._cuts + len(self.others)

    @property
    def _cuts(self) -> int:
        """The number of coordinates of the weights."""
        return len(self.tasks) - 1 if self.weights else 0

    def point(self, coordinates: np.ndarray) -> Point:
        """Returns the point with coordinates `(size,)` in the unit cube.

        Coordinates that are uniform over the cube give weights that are uniform over the simplex.
        """
        first = self._cuts
        cuts = np.concatenate([[0.0], np.sort(coordinates[:first]), [1.0]])
        rest = 1 - len(self.tasks) * self.least_weight
        weights = self.least_weight + rest * np.diff(cuts)
        return self.at(weights, self.values(coordinates[first:]))

    def values(self, coordinates: np.ndarray) -> Point:
        """Returns the other parameters' values, from their coordinates in the unit cube."""
        return {
            name: self._value(name, float(coordinate))
            for name, coordinate in zip(self.others, coordinates, strict=True)
        }

    def at(self, weights: np.ndarray, others: Mapping[str, Any]) -> Point:
        """Returns the point with task weights `(K,)` and the values of the other parameters."""
        own = {name: others[name] for name in self.others}
        if not self.weights:
            return own
        rounded = [round(float(weight), 4) for weight in weights]
        rounded[-1] = round(1 - sum(rounded[:-1]), 4)
        return {self.weights: dict(zip(self.tasks, rounded, strict=True)), **own}

    def weights_of(self, point: Mapping[str, Any]) -> np.ndarray:
        """Returns the task weights `(K,)` of a point; equal ones if they are not searched."""
        if not self.weights:
            return np.full(len(self.tasks), 1 / len(self.tasks))
        return np.array([point[self.weights][task] for task in self.tasks])

    def with_least(self, weights: np.ndarray) -> np.ndarray:
        """Returns weights `(K,)` on the simplex, none below the least; valid ones are unchanged."""
        above = np.maximum(weights - self.least_weight, 0.0)
        rest = 1 - len(weights) * self.least_weight
        return np.asarray(self.least_weight + rest * above / above.sum())

    def others_of(self, point: Mapping[str, Any]) -> Point:
        """Returns the values of the other parameters of a point."""
        return {name: point[name] for name in self.others}

    def samples(self, point: Point) -> list[Point]:
        """Returns a point, and variants of it with each choice and each end of a range."""
        every = {**self.log_uniform, **self.uniform, **self.choices}
        return [point, *({**point, name: v} for name, values in every.items() for v in values)]

    def coordinates(self, point: Mapping[str, Any]) -> np.ndarray:
        """Returns the coordinates of the numeric parameters' values in the unit cube."""
        logs = {name: [math.log(end) for end in ends] for name, ends in self.log_uniform.items()}
        values = {**point, **{name: math.log(point[name]) for name in logs}}
        scales = {**logs, **self.uniform}
        return np.array([(values[n] - low) / (high - low) for n, (low, high) in scales.items()])

    @property
    def record(self) -> dict[str, Any]:
        """The values that identify the space, as JSON values."""
        return asdict(self)

    def _value(self, name: str, coordinate: float) -> Any:
        if name in self.choices:
            values = self.choices[name]
            return values[min(int(coordinate * len(values)), len(values) - 1)]
        if name in self.uniform:
            low, high = self.uniform[name]
            return float(f"{low + (high - low) * coordinate:.4g}")
        low, high = (math.log(end) for end in self.log_uniform[name])
        return float(f"{math.exp(low + (high - low) * coordinate):.4g}")


def _check_ends(name: str, ends: Any, is_log: bool) -> None:
    try:
        low, high = ends
        fits = all(isinstance(end, Real) and math.isfinite(end) for end in (low, high))
        fits = fits and low < high and (low > 0 or not is_log)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        positive = "two positive numbers" if is_log else "two numbers"
        raise StudyError(f"{name!r} must be {positive}, (lowest, highest). Received: {ends!r}")
