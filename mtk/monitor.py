"""What evaluations are compared by: a metric, a mean of metrics, or relative losses."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

MIN, MAX = DIRECTIONS = ("min", "max")
SHARE = "share"  # The unit of what is at most one, such as an accuracy or an AUC.
MEAN_LOSS = "mean_loss"
RELATIVE_LOSS = "relative_loss"
# What a user may write; see `resolve`.
Monitored: TypeAlias = str | Mapping[str, str] | Sequence[str | Sequence[str]] | None
_LOSS = "loss"  # The key of the mean over tasks in the logs.
_VALIDATION = "val_"


class DifferentMonitorsError(ValueError):
    """Runs were selected by different monitors, so their values cannot be compared."""


@dataclass(frozen=True)
class Monitor:
    """One number for each evaluation, and which way it is better.

    Attributes:
        name: `"mean_loss"`, `"relative_loss"`, the name of a metric, or a mean of several, such as
            `"mean(a_AUC: max, b_mae / first: min)"`.
        direction: `"min"` or `"max"`.
        terms: Names of metrics in the logs, without "val_", each with its direction.
        relative: Names of those that are divided by their value at the first evaluation.
    """

    name: str
    direction: str
    terms: tuple[tuple[str, str], ...]
    relative: frozenset[str] = frozenset()

    @property
    def worst(self) -> float:
        """What every number is better than."""
        return math.inf if self.direction == MIN else -math.inf

    def is_better(self, value: float, other: float) -> bool:
        """Tells whether a value is better than another; NaN never is."""
        return value < other if self.direction == MIN else value > other

    def reads(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """Returns the terms as an evaluation measured them.

        Args:
            logs: Keras' logs of an evaluation during `fit`, with keys such as "val_left_loss".

        Raises:
            ValueError: If one is not in the logs.
        """
        missing = [name for name, _ in self.terms if _VALIDATION + name not in logs]
        if missing:
            raise ValueError(
                f"BestCheckpoint compares {_VALIDATION + missing[0]!r}, but the logs have "
                f"{sorted(logs)}. Give `fit` the argument `validation_data`, or "
                "BestCheckpoint another `monitor`."
            )
        return {name: as_number(logs[_VALIDATION + name]) for name, _ in self.terms}

    def first(self, logs: Mapping[str, Any]) -> dict[str, float] | None:
        """Returns what relative terms are divided by, if an evaluation can be the first for them.

        It can if all of them are finite and none is zero; None otherwise. Of what is better high
        it is at least one: a score that begins near zero would outweigh all others.

        Args:
            logs: As `reads` takes them.
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

        The mean of the terms; where some are better high and others low, the former count negative.

        Args:
            logs: As `reads` takes them.
            first: What `first` returned of the first evaluation that has it, for relative terms;
                without it they have no number, and the mean is NaN.

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
        """Returns the terms of an evaluation, those of which more is better negative."""
        now = self.reads(logs)
        return {name: now[name] * (1 if way == MIN else -1) for name, way in self.terms}


def as_number(value: Any) -> float:
    """Returns the value of a metric: the mean of several, as Keras' progress bar shows them.

    Such as the F1 score of each class.
    """
    return float(np.mean(value))


def resolve(
    given: Any,
    known: Mapping[str, str | None],
    losses: Sequence[str],
    units: Mapping[str, Any],
) -> Monitor:
    """Returns the monitor that a user has described.

    Args:
        given: `"mean_loss"`; `"relative_loss"`; the name of a metric, as in the logs of training;
            `(name, direction)`; a list of names or pairs, or `{name: direction}`, for their mean;
            a `Monitor`; or None, for `"mean_loss"` if all losses have one unit and
            `"relative_loss"` otherwise. A name of the first two always means the mean over tasks:
            the loss of a task called "mean" is `("mean_loss", "min")`. In a mean of metrics of
            several units all but shares of one, such as an accuracy, are relative to the first
            evaluation; the task with the largest numbers would decide alone otherwise.
        known: Direction by name of a metric; None where it is not known.
        losses: Names of the tasks' losses.
        units: By name of a metric, its unit; see `mtk.directions.unit`. One without has its own.

    Raises:
        ValueError: If a metric or its direction is not known, or the form is none of these.
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
        raise ValueError(f"`monitor` names metrics, each once, at least one. Received: {given!r}")
    if len(terms) == 1:
        return Monitor(*terms[0], terms)
    direction = MAX if all(each == MAX for _, each in terms) else MIN
    several = len({(units.get(name, name), way) for name, way in terms}) > 1
    relative = frozenset(name for name in names if several and units.get(name) != SHARE)
    words = [f"{name}{' / first' if name in relative else ''}: {way}" for name, way in terms]
    return Monitor(f"mean({', '.join(words)})", direction, terms, relative)


class Selected(NamedTuple):
    """By what a run was selected.

    Attributes:
        monitor: Its monitor's name.
        direction: "min" or "max".
        value: What it had at the selected step; NaN if it is not known.
        losses: Each task's validation loss at the selected step.
        terms: Each term of the monitor at the selected step, by the name of the metric; negative if
            more of it is better. Earlier versions have told relative ones alone.
        first: What the relative ones are divided by: their values at the first evaluation.
        trained: The tasks that it trains, where static weights of zero leave out others; else ().
    """

    monitor: str
    direction: str
    value: float
    losses: Mapping[str, float] = MappingProxyType({})
    terms: Mapping[str, float] = MappingProxyType({})
    first: Mapping[str, float] = MappingProxyType({})
    trained: tuple[str, ...] = ()

    def of_trained(self) -> "Selected":
        """Returns what it had of the tasks that it trains: their losses where no term is of them.

        What others had drifts as the trunk moves: it would say that slow training is best.
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
    """Returns by what a run was selected, from its `result.json`.

    A run of an earlier version, which does not say, was selected by the mean of its losses.

    Args:
        result: Its content.

    Raises:
        ValueError: If it is damaged.
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
            # An earlier version had relative losses alone, and named them by their tasks.
            first = {f"{task}_loss": value for task, value in first.items()}
            terms = {f"{task}_loss": value for task, value in losses.items()}
        if not first.keys() <= terms.keys() or 0.0 in first.values():
            raise ValueError(f"the monitor is {said!r}")
        value = _number(said["value"])
        return Selected(said["name"], said["direction"], value, losses, terms, first)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"result.json does not say by what it was selected: {error!r}") from error


def compared(runs: Sequence[Selected]) -> list[float]:
    """Returns a number for each run; less is better.

    The monitors' values, negative where more is better. What is relative to each run's own first
    evaluation has a unit for each run: there each metric is divided by one number for all runs, the
    geometric mean of its first values. Runs that train the same tasks alone, as single-task models
    do, are compared by these; where runs train others, all tasks count.

    Raises:
        DifferentMonitorsError: If they have different monitors.
    """
    found = dict.fromkeys((run.monitor, run.direction) for run in runs)
    if len(found) > 1:
        names = ", ".join(f"{name!r} ({direction})" for name, direction in found)
        raise DifferentMonitorsError(
            f"These runs were selected by different monitors, {names}, whose values cannot be "
            "compared. Give all of them the same `experiment.Training.monitor`, in a study of "
            "their own."
        )
    if len({run.trained for run in runs}) == 1:
        runs = [run.of_trained() for run in runs]
    units = common_units(runs)
    if units:
        return [_in_units(run, units) for run in runs]
    return [run.value if run.direction == MIN else -run.value for run in runs]


def short(name: str) -> str:
    """Returns the name of a monitor for a line with its value: of a mean of metrics, "mean"."""
    return name.partition("(")[0]


def shown(runs: Mapping[str, Selected]) -> dict[str, float]:
    """Returns the number to show of each run: what its monitor had at the selected step.

    What is relative to each run's own first evaluation, which is 1 where there is no other, is
    shown in the unit that the runs of these tasks have in common; see `compared`. Tasks that a run
    does not train do not count.

    Args:
        runs: By name.
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
    """Returns the unit of each relative metric, if runs were selected by such ones."""
    names = {frozenset(run.first) for run in runs}
    if len(names) != 1:
        return {}
    logs = {name: [math.log(abs(run.first[name])) for run in runs] for name in names.pop()}
    return {name: math.exp(sum(each) / len(each)) for name, each in logs.items()}


def _relative(value: float, first: float) -> float:
    """Returns the ratio; of what is negative at first, too, less stays less."""
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
        f"`monitor` is {MEAN_LOSS!r}, {RELATIVE_LOSS!r}, a metric such as 'left_accuracy' or "
        "('left_accuracy', 'max'), or several, {'left_accuracy': 'max', 'right_loss': 'min'}. "
        f"Received: {given!r}"
    )


def _is_pair(given: Any) -> bool:
    is_two = isinstance(given, (list, tuple)) and len(given) == 2
    return is_two and isinstance(given[0], str) and given[1] in DIRECTIONS


def _term(given: Any, known: Mapping[str, str | None]) -> tuple[str, str]:
    """Returns the name of a metric and its direction."""
    name, direction = given if isinstance(given, (list, tuple)) and len(given) == 2 else (given, "")
    if not isinstance(name, str) or direction not in ("", *DIRECTIONS):
        raise ValueError(
            "A monitored metric is a name, or a name and 'min' or 'max': ('left_accuracy', 'max'). "
            f"Received: {given!r}"
        )
    name = name.removeprefix(_VALIDATION)
    if name == MEAN_LOSS and name not in known:
        name = _LOSS
    if name == RELATIVE_LOSS and name not in known:
        raise ValueError(f"{name!r} is a mean by itself: no mean of metrics may have it.")
    if name not in known:
        close = difflib.get_close_matches(name, [*known, RELATIVE_LOSS], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        names = ", ".join(sorted({*known} - {_LOSS} | {MEAN_LOSS, RELATIVE_LOSS}))
        raise ValueError(f"No evaluation measures {name!r}.{hint} `monitor` may be: {names}")
    if not direction and known[name] is None:
        raise ValueError(
            f"Whether more or less of {name!r} is better is not known. Say so: "
            f"monitor=({name!r}, 'max') or monitor=({name!r}, 'min'); or give the metric's class "
            "an attribute `direction`."
        )
    return name, direction or str(known[name])


def task_of(metric: str, tasks: Iterable[str]) -> str:
    """Returns the task whose metric has this name in the logs; "" if there is none."""
    return max((task for task in tasks if metric.startswith(f"{task}_")), key=len, default="")


def _number(value: Any) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError as error:  # An integer of hundreds of digits.
        raise ValueError("a number is too large") from error
