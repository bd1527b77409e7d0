"""What evaluations are compared by: a metric, a mean of metrics, or relative losses."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

MIN, MAX = DIRECTIONS = ("min", "max")
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
        name: `"mean_loss"`, `"relative_loss"`, the name of a metric, or `"mean(a: max, b: min)"`.
        direction: `"min"` or `"max"`.
        terms: Names of metrics in the logs, without "val_", each with its direction.
        relative: Whether each term is divided by its value at the first evaluation.
    """

    name: str
    direction: str
    terms: tuple[tuple[str, str], ...]
    relative: bool = False

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
        return {name: float(logs[_VALIDATION + name]) for name, _ in self.terms}

    def value(self, logs: Mapping[str, Any], first: Mapping[str, float] | None = None) -> float:
        """Returns the number of an evaluation.

        The mean of the terms; where some are better high and others low, the former count negative.

        Args:
            logs: As `reads` takes them.
            first: What `reads` returned at the first evaluation; for relative terms.

        Raises:
            ValueError: If a term is not in the logs, or a relative one was zero at first.
        """
        now = self.reads(logs)
        if self.relative:
            now = {
                name: _relative(value, (first or now)[name], name) for name, value in now.items()
            }
        signs = [1.0 if of_term == self.direction else -1.0 for _, of_term in self.terms]
        return sum(s * v for s, v in zip(signs, now.values(), strict=True)) / len(signs)


def resolve(
    given: Any, known: Mapping[str, str | None], losses: Sequence[str], one_unit: bool
) -> Monitor:
    """Returns the monitor that a user has described.

    Args:
        given: `"mean_loss"`; `"relative_loss"`; the name of a metric, as in the logs of training;
            `(name, direction)`; a list of names or pairs, or `{name: direction}`, for their mean;
            a `Monitor`; or None, for `"mean_loss"` if all losses have one unit and
            `"relative_loss"` otherwise. A name of the first two always means the mean over tasks:
            the loss of a task called "mean" is `("mean_loss", "min")`.
        known: Direction by name of a metric; None where it is not known.
        losses: Names of the tasks' losses.
        one_unit: Whether they can be added.

    Raises:
        ValueError: If a metric or its direction is not known, or the form is none of these.
    """
    if isinstance(given, Monitor):
        return given
    if given is None:
        given = MEAN_LOSS if one_unit or not losses else RELATIVE_LOSS
    if isinstance(given, str) and given in (MEAN_LOSS, _LOSS, _VALIDATION + _LOSS):
        return Monitor(MEAN_LOSS, MIN, ((_LOSS, MIN),))
    if given == RELATIVE_LOSS and losses:
        return Monitor(RELATIVE_LOSS, MIN, tuple((name, MIN) for name in losses), relative=True)
    terms = tuple(_term(each, known) for each in _listed(given))
    names = [name for name, _ in terms]
    if not names or len({*names}) < len(names):
        raise ValueError(f"`monitor` names metrics, each once, at least one. Received: {given!r}")
    if len(terms) == 1:
        return Monitor(*terms[0], terms)
    direction = MAX if all(each == MAX for _, each in terms) else MIN
    return Monitor(f"mean({', '.join(f'{n}: {d}' for n, d in terms)})", direction, terms)


class Selected(NamedTuple):
    """By what a run was selected.

    Attributes:
        monitor: Its monitor's name.
        direction: "min" or "max".
        value: What it had at the selected step; NaN if it is not known.
        losses: Each task's validation loss at the selected step.
        first: Each task's at the first evaluation, where the monitor is relative to it.
    """

    monitor: str
    direction: str
    value: float
    losses: Mapping[str, float]
    first: Mapping[str, float] | None = None


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
        first = said.get("first")
        if first is not None:
            first = {task: _number(value) for task, value in first.items()}
        if said["direction"] not in DIRECTIONS or not isinstance(said["name"], str):
            raise ValueError(f"the monitor is {said!r}")
        return Selected(said["name"], said["direction"], _number(said["value"]), losses, first)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"result.json does not say by what it was selected: {error!r}") from error


def compared(runs: Sequence[Selected]) -> list[float]:
    """Returns a number for each run; less is better.

    The monitors' values, negative where more is better. Losses relative to each run's own first
    evaluation have a unit for each run: there each task's loss is divided by one number for all
    runs, the geometric mean of their first losses.

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
    units = common_units(runs)
    if units:
        return [_in_units(run, units) for run in runs]
    return [run.value if run.direction == MIN else -run.value for run in runs]


def shown(runs: Mapping[str, Selected]) -> dict[str, float]:
    """Returns the number to show of each run: what its monitor had at the selected step.

    Losses relative to each run's own first evaluation, which are 1 where there is no other, are
    shown in the unit that the runs of these tasks have in common; see `compared`.

    Args:
        runs: By name.
    """
    alike: dict[Any, list[Selected]] = {}
    for run in runs.values():
        alike.setdefault(_kind(run), []).append(run)
    units = {kind: common_units(group) for kind, group in alike.items()}
    return {name: _in_units(run, units[_kind(run)]) for name, run in runs.items()}


def _kind(run: Selected) -> tuple[Any, ...]:
    return run.monitor, run.direction, frozenset(run.first or ())


def _in_units(run: Selected, units: Mapping[str, float]) -> float:
    if not units:
        return run.value
    return sum(run.losses[task] / unit for task, unit in units.items()) / len(units)


def common_units(runs: Sequence[Selected]) -> dict[str, float]:
    """Returns the unit of each task's loss, if runs were selected by relative losses."""
    firsts = [run.first for run in runs if run.first]
    if not firsts or len(firsts) < len(runs) or any(f.keys() != firsts[0].keys() for f in firsts):
        return {}
    logs = {task: [math.log(abs(first[task])) for first in firsts] for task in firsts[0]}
    return {task: math.exp(sum(each) / len(each)) for task, each in logs.items()}


def _relative(value: float, first: float, name: str) -> float:
    if first == 0 or not math.isfinite(first):
        raise ValueError(
            f"{name!r} was {first} at the first evaluation, so no loss is relative to it. Choose "
            f"another monitor: monitor={MEAN_LOSS!r}, or the metrics that count, such as "
            'monitor={"left_accuracy": "max", "right_loss": "min"}.'
        )
    # Of what is negative at first, too, less is better.
    return value / first if first > 0 else 1.0 + (value - first) / -first


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


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
