"""Monitors to compare evaluations by: a metric, a mean of metrics, or relative losses."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

MIN, MAX = DIRECTIONS = ("min", "max")
SHARE = "share"  # The unit of metrics that are at most one, such as an accuracy or an AUC.
MEAN_LOSS = "mean_loss"
RELATIVE_LOSS = "relative_loss"
# Forms that a user may give; see `resolve`.
Monitored: TypeAlias = str | Mapping[str, str] | Sequence[str | Sequence[str]] | None
_LOSS = "loss"  # The key of the mean over tasks in the logs.
_VALIDATION = "val_"


class DifferentMonitorsError(ValueError):
    """Raised for runs selected by different monitors, whose values cannot be compared."""


@dataclass(frozen=True)
class Monitor:
    """One number per evaluation, and its direction of improvement.

    Attributes:
        name: `"mean_loss"`, `"relative_loss"`, the name of a metric, or a mean of several, such as
            `"mean(a_AUC: max, b_mae / first: min)"`.
        direction: `"min"` or `"max"`.
        terms: Names of metrics in the logs, without "val_", with their directions.
        relative: Names of the terms that are divided by their value at the first evaluation.
    """

    name: str
    direction: str
    terms: tuple[tuple[str, str], ...]
    relative: frozenset[str] = frozenset()

    @property
    def worst(self) -> float:
        """The value that every number is better than."""
        return math.inf if self.direction == MIN else -math.inf

    def is_better(self, value: float, other: float) -> bool:
        """Returns whether a value is better than another; NaN never is."""
        return value < other if self.direction == MIN else value > other

    def reads(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """Returns the values of the terms in an evaluation.

        Args:
            logs: Keras' logs of an evaluation during `fit`, with keys such as "val_left_loss".

        Raises:
            ValueError: If a term is not in the logs.
        """
        missing = [name for name, _ in self.terms if _VALIDATION + name not in logs]
        if missing:
            raise ValueError(
                f"BestCheckpoint monitors {_VALIDATION + missing[0]!r}, but the logs have "
                f"{sorted(logs)}. Pass `validation_data` to `fit`, or another `monitor` to "
                "BestCheckpoint."
            )
        return {name: as_number(logs[_VALIDATION + name]) for name, _ in self.terms}

    def first(self, logs: Mapping[str, Any]) -> dict[str, float] | None:
        """Returns the divisors of relative terms, if an evaluation can be the first for them.

        It can if all are finite and nonzero; else this is None. The divisor of a metric to maximize
        is at least one: a score that starts near zero would outweigh all others.

        Args:
            logs: As for `reads`.
        """
        ways, now = dict(self.terms), self.reads(logs)
        found = {
            name: 1.0 if ways[name] == MAX and abs(now[name]) < 1 else now[name]
            for name in now
            if name in self.relative
        }
        can_be = all(math.isfinite(value) and value != 0 for value in found.values())
        return found if can_be else None

    def value(self, logs: Mapping[str, Any], first: Mapping[str, float] | None = None) -> float:
        """Returns the number of an evaluation.

        The mean of the terms; with mixed directions, terms to maximize are negated.

        Args:
            logs: As for `reads`.
            first: The return value of `first` for the first evaluation that has it, for relative
                terms; without it they, and the mean, are NaN.

        Raises:
            ValueError: If a term is not in the logs.
        """
        values = {
            name: _relative(now, (first or {}).get(name, math.nan))
            if name in self.relative
            else now
            for name, now in self.reads(logs).items()
        }
        signed = [values[name] * (1 if way == self.direction else -1) for name, way in self.terms]
        return sum(signed) / len(signed)

    def signed(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """Returns the terms of an evaluation, with those to maximize negated."""
        now = self.reads(logs)
        return {name: now[name] * (1 if way == MIN else -1) for name, way in self.terms}


def as_number(value: Any) -> float:
    """Returns a metric's value as a float: the mean of several, as in Keras' progress bar.

    A metric such as the F1 score has a value per class.
    """
    return float(np.mean(value))


def resolve(
    given: Any,
    known: Mapping[str, str | None],
    losses: Sequence[str],
    units: Mapping[str, Any],
) -> Monitor:
    """Returns the monitor for a user's description.

    Args:
        given: `"mean_loss"`; `"relative_loss"`; the name of a metric, as in the logs of training;
            `(name, direction)`; a list of names or pairs, or `{name: direction}`, for their mean; a
            `Monitor`; or None, for `"mean_loss"` if all losses have one unit and `"relative_loss"`
            otherwise. The first two names always mean the mean over tasks: the loss of a task
            called "mean" is `("mean_loss", "min")`. In a mean of metrics of several units, all but
            fractions, such as an accuracy, are relative to the first evaluation, since otherwise
            the task with the largest numbers would dominate.
        known: Direction by metric name; None if unknown.
        losses: Names of the tasks' losses.
        units: Unit by metric name; see `mtk.directions.unit`. One without has its own.

    Raises:
        ValueError: If a metric or its direction is unknown, or the form is none of these.
    """
    if isinstance(given, Monitor):
        return given
    if given is None:
        given = MEAN_LOSS if len({units.get(name, name) for name in losses}) <= 1 else RELATIVE_LOSS
    if isinstance(given, str) and given in (MEAN_LOSS, _LOSS, _VALIDATION + _LOSS):
        return Monitor(MEAN_LOSS, MIN, ((_LOSS, MIN),))
    if given == RELATIVE_LOSS:
        losses = losses or [_LOSS]
        terms = tuple((name, MIN) for name in losses)
        return Monitor(RELATIVE_LOSS, MIN, terms, frozenset(losses))
    terms = tuple(_term(each, known) for each in _listed(given))
    names = [name for name, _ in terms]
    if not names or len({*names}) < len(names):
        raise ValueError(f"`monitor` must name one or more metrics, each once. Received: {given!r}")
    if len(terms) == 1:
        return Monitor(*terms[0], terms)
    direction = MAX if all(each == MAX for _, each in terms) else MIN
    several = len({(units.get(name, name), way) for name, way in terms}) > 1
    relative = frozenset(name for name in names if several and units.get(name) != SHARE)
    words = [f"{name}{' / first' if name in relative else ''}: {way}" for name, way in terms]
    return Monitor(f"mean({', '.join(words)})", direction, terms, relative)


class Selected(NamedTuple):
    """The monitor by which a run was selected, with its values.

    Attributes:
        monitor: Name of the monitor.
        direction: "min" or "max".
        value: Its value at the selected step; NaN if unknown.
        losses: Each task's validation loss at the selected step.
        terms: Each term of the monitor at the selected step, by metric name; negated if it is to be
            maximized. Earlier versions recorded only relative ones.
        first: Divisors of the relative terms: their values at the first evaluation.
        trained: The trained tasks, if static weights of zero exclude others; otherwise ().
    """

    monitor: str
    direction: str
    value: float
    losses: Mapping[str, float] = MappingProxyType({})
    terms: Mapping[str, float] = MappingProxyType({})
    first: Mapping[str, float] = MappingProxyType({})
    trained: tuple[str, ...] = ()

    def of_trained(self) -> "Selected":
        """Returns the values of the trained tasks only: their losses if no term belongs to them.

        The values of untrained tasks drift as the trunk changes, and would favor slow training.
        """
        if not self.trained:
            return self
        terms = {
            name: value
            for name, value in self.terms.items()
            if task_of(name, self.losses) in self.trained
        }
        if self.monitor == MEAN_LOSS or not terms:
            terms = {f"{task}_loss": self.losses[task] for task in self.trained}
            mean = _in_units(self._replace(terms=terms), {})
            return self._replace(
                monitor=MEAN_LOSS, direction=MIN, value=mean, terms=terms, first={}
            )
        first = {name: self.first[name] for name in terms if name in self.first}
        found = self._replace(terms=terms, first=first)
        return found._replace(value=_in_units(found, first) * (1 if self.direction == MIN else -1))


def selected(result: Mapping[str, Any]) -> Selected:
    """Returns the monitor by which a run was selected, from its `result.json`.

    A run of an earlier version, which does not record it, was selected by its mean loss.

    Args:
        result: Content of the file.

    Raises:
        ValueError: If the content is invalid.
    """
    try:
        tasks = result["validation"]["tasks"]
        losses = {task: _number(found["loss"]) for task, found in tasks.items()}
        said = result.get("monitor")
        if said is None:
            mean = sum(losses.values()) / len(losses) if losses else math.nan
            return Selected(MEAN_LOSS, MIN, mean, losses)
        if said["direction"] not in DIRECTIONS or not isinstance(said["name"], str):
            raise ValueError(f"the monitor is {said!r}")
        first = {name: _number(value) for name, value in (said.get("first") or {}).items()}
        terms = {name: _number(value) for name, value in (said.get("terms") or {}).items()}
        if first and not terms:
            # An earlier version had only relative losses, named by their tasks.
            first = {f"{task}_loss": value for task, value in first.items()}
            terms = {f"{task}_loss": value for task, value in losses.items()}
        if not first.keys() <= terms.keys() or 0.0 in first.values():
            raise ValueError(f"the monitor is {said!r}")
        value = _number(said["value"])
        return Selected(said["name"], said["direction"], value, losses, terms, first)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"result.json does not record the monitor that selected it: {error!r}"
        ) from error


def compared(runs: Sequence[Selected]) -> list[float]:
    """Returns a number for each run; lower is better.

    The monitors' values, negated if they are to be maximized. Values relative to each run's own
    first evaluation have a different unit in each run: such a metric is instead divided by one
    number for all runs, the geometric mean of its first values. Runs that train only the same
    tasks, such as single-task models, are compared by these; otherwise all tasks count.

    Raises:
        DifferentMonitorsError: If the runs have different monitors.
    """
    found = dict.fromkeys((run.monitor, run.direction) for run in runs)
    if len(found) > 1:
        names = ", ".join(f"{name!r} ({direction})" for name, direction in found)
        raise DifferentMonitorsError(
            f"These runs were selected by different monitors, {names}, whose values cannot be "
            "compared. Use the same `experiment.Training.monitor` for all runs of a study."
        )
    if len({run.trained for run in runs}) == 1:
        runs = [run.of_trained() for run in runs]
    units = common_units(runs)
    if units:
        return [_in_units(run, units) for run in runs]
    return [run.value if run.direction == MIN else -run.value for run in runs]


def short(name: str) -> str:
    """Returns a monitor's short name to show with its value: "mean" for a mean of metrics."""
    return name.partition("(")[0]


def shown(runs: Mapping[str, Selected]) -> dict[str, float]:
    """Returns the number to show for each run: its monitor's value at the selected step.

    Values relative to each run's own first evaluation, which would be 1 at the first one, are shown
    in the common unit of the runs with the same tasks; see `compared`. Tasks that a run does not
    train do not count.

    Args:
        runs: The runs by name.
    """
    runs = {name: run.of_trained() for name, run in runs.items()}
    alike: dict[Any, list[Selected]] = {}
    for run in runs.values():
        alike.setdefault(_kind(run), []).append(run)
    units = {kind: common_units(group) for kind, group in alike.items()}
    return {
        name: _in_units(run, units[_kind(run)]) * (1 if run.direction == MIN else -1)
        if units[_kind(run)]
        else run.value
        for name, run in runs.items()
    }


def _kind(run: Selected) -> tuple[Any, ...]:
    return run.monitor, run.direction, frozenset(run.first)


def _in_units(run: Selected, units: Mapping[str, float]) -> float:
    return sum(each / units.get(name, 1.0) for name, each in run.terms.items()) / len(run.terms)


def common_units(runs: Sequence[Selected]) -> dict[str, float]:
    """Returns the unit of each relative metric, if the runs were selected by such metrics."""
    names = {frozenset(run.first) for run in runs}
    if len(names) != 1:
        return {}
    logs = {name: [math.log(abs(run.first[name])) for run in runs] for name in names.pop()}
    return {name: math.exp(sum(each) / len(each)) for name, each in logs.items()}


def _relative(value: float, first: float) -> float:
    """Returns the ratio, made increasing in the value for a negative first value too."""
    return value / first if not first < 0 else 1.0 + (value - first) / -first


def _listed(given: Any) -> list[Any]:
    """Returns the metrics of a mean, as names or pairs."""
    if isinstance(given, Mapping):
        return list(given.items())
    if isinstance(given, str) or _is_pair(given):
        return [given]
    if isinstance(given, Sequence):
        return list(given)
    raise ValueError(
        f"`monitor` must be {MEAN_LOSS!r}, {RELATIVE_LOSS!r}, a metric such as 'left_accuracy' "
        "or ('left_accuracy', 'max'), or several metrics, such as {'left_accuracy': 'max', "
        f"'right_loss': 'min'}}. Received: {given!r}"
    )


def _is_pair(given: Any) -> bool:
    is_two = isinstance(given, (list, tuple)) and len(given) == 2
    return is_two and isinstance(given[0], str) and given[1] in DIRECTIONS


def _term(given: Any, known: Mapping[str, str | None]) -> tuple[str, str]:
    """Returns the name of a metric and its direction."""
    name, direction = given if isinstance(given, (list, tuple)) and len(given) == 2 else (given, "")
    if not isinstance(name, str) or direction not in ("", *DIRECTIONS):
        raise ValueError(
            "A monitored metric must be a name, or a name with 'min' or 'max', such as "
            f"('left_accuracy', 'max'). Received: {given!r}"
        )
    name = name.removeprefix(_VALIDATION)
    if name == MEAN_LOSS and name not in known:
        name = _LOSS
    if name == RELATIVE_LOSS and name not in known:
        raise ValueError(f"{name!r} is a mean itself, so it cannot be part of a mean of metrics.")
    if name not in known:
        close = difflib.get_close_matches(name, [*known, RELATIVE_LOSS], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        names = ", ".join(sorted({*known} - {_LOSS} | {MEAN_LOSS, RELATIVE_LOSS}))
        raise ValueError(
            f"No evaluation measures {name!r}.{hint} Possible values of `monitor`: {names}"
        )
    if not direction and known[name] is None:
        raise ValueError(
            f"The direction of {name!r} is unknown. Give it, monitor=({name!r}, 'max') or "
            f"monitor=({name!r}, 'min'), or set an attribute `direction` on the metric's class."
        )
    return name, direction or str(known[name])


def task_of(metric: str, tasks: Iterable[str]) -> str:
    """Returns the task whose metric has this name in the logs; "" if none."""
    return max((task for task in tasks if metric.startswith(f"{task}_")), key=len, default="")


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError as error:  # For an integer of hundreds of digits.
        raise ValueError("a number is too large") from error
