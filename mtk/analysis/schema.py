"""Schemas of the files of a study and of its runs, which are checked when they are read.

All text that passes is safe to display: see `plain_text`. Entries without a schema are not read.
"""

import math
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from mtk import monitor
from mtk.analysis import plain_text
from mtk.records import DamagedError

SPLITS = ("train", "validation", "test")
# Stages of a study, as its runs record them.
SELECT, MEASURE = "select", "measure"

# The largest number of single precision, the range of all metrics; its square does not overflow.
_LARGEST = float.fromhex("0x1.fffffep127")
# No configuration is nested deeper, and Python's recursion limit is not much higher.
_DEEPEST = 50
# No experiment has more, and a report on them would take days.
_MOST_NAMES = 2_000

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 60


class Kind(NamedTuple):
    """A kind of value.

    Attributes:
        expected: Description of the kind.
        read: Returns the value in the form in which it is used; raises a ValueError or TypeError.
    """

    expected: str
    read: Callable[[Any], Any]


class Named(NamedTuple):
    """An object with arbitrary names as keys and values of one kind.

    Attributes:
        kind: Kind of the values.
        without: Characters that no name contains; `mtk.Task` allows no `/` in names of tasks.
    """

    kind: Any
    without: str = "\n"


# A kind, `[schema]` for a list, or `{name: schema}` for an object with optional entries.
Schema: TypeAlias = Kind | Named | list[Any] | Mapping[str, Any]


def check(value: Any, schema: Schema, where: str, name: str = "") -> Any:
    """Returns a checked value in the form in which it is used; None if it is absent or null.

    Args:
        value: The value as parsed from JSON.
        schema: Its expected form.
        where: Description of the file or object that contains it.
        name: Name of its entry.

    Raises:
        DamagedError: If it has another form, with its place.
    """
    if value is None:
        return None
    if isinstance(schema, Kind):
        try:
            return schema.read(value)
        except (ValueError, TypeError):
            raise _wrong(value, schema.expected, where, name) from None
    inner = f"{where}, {name}" if name else where
    if isinstance(schema, list):
        if not isinstance(value, list):
            raise _wrong(value, "a list", where, name)
        return [_there(each, schema[0], inner, str(number)) for number, each in enumerate(value)]
    if not isinstance(value, dict):
        raise _wrong(value, "an object", where, name)
    if isinstance(schema, Named):
        return _named(value, schema, inner)
    return {key: check(value.get(key), kind, inner, key) for key, kind in schema.items()}


def _named(value: dict[str, Any], schema: Named, where: str) -> dict[str, Any]:
    if len(value) > _MOST_NAMES:
        raise DamagedError(f"{where} has {len(value)} names; at most {_MOST_NAMES} are allowed")
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = plain_text.name(key)
        if not name or name in found or schema.without in name:
            raise DamagedError(f"{where}: {_shown.repr(key)} is not a valid name, or occurs twice")
        found[name] = _there(each, schema.kind, where, name)
    return found


def _there(value: Any, schema: Schema, where: str, name: str) -> Any:
    """Returns a checked element of a list or an object; null only where it means unknown."""
    if value is None and not any(schema is each for each in (_MEASURED, _DIRECTION)):
        raise _wrong(value, "a value", where, name)
    return check(value, schema, where, name)


def _wrong(value: Any, expected: str, where: str, name: str) -> DamagedError:
    what = f"{where}: {name!r}" if name else where
    return DamagedError(f"{what} is {_shown.repr(value)}; expected {expected}")


def _kind(
    expected: str,
    types: tuple[type, ...],
    fits: Callable[[Any], Any] = lambda _: True,
    shown: Callable[[Any], Any] = lambda value: value,
) -> Kind:
    """Returns the kind of the values that have one of the types and satisfy `fits`."""

    def read(value: Any) -> Any:
        if type(value) not in types or not fits(value):
            raise ValueError
        return shown(value)

    return Kind(expected, read)


def _one_of(*words: str) -> Kind:
    return _kind(" or ".join(map(repr, words)), (str,), words.__contains__)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _DEEPEST:
        inner = [each for each in level if isinstance(each, (list, dict))]
        level = [e for each in inner for e in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth


def _configures(value: Any) -> bool:
    """Returns whether a value holds bindings of a run: `{name: value}` or gin statements."""
    if isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    return _depth(value) <= _DEEPEST


# No count is larger.
_WHOLE = _kind("an integer", (int,), lambda value: abs(value) <= 2**63 - 1)
_FINITE = _kind("a finite number", (int, float), lambda value: abs(value) <= _LARGEST)
# NaN and infinity count as missing.
_MEASURED = Kind(
    _FINITE.expected,
    lambda value: (
        None if type(value) is float and not math.isfinite(value) else _FINITE.read(value)
    ),
)
# Null is the direction of a metric that does not declare one.
_DIRECTION = _one_of(*monitor.DIRECTIONS)
_TEXT = _kind("a string", (str,))
_NAME = _kind("a string", (str,), shown=plain_text.name)
_SENTENCE = _kind("a string", (str,), shown=plain_text.sentence)
_FLAG = _kind("true or false", (bool,))
_TASK_METRICS = {"tasks": Named(Named(_MEASURED), "/")}
# Facts that a result or a manifest may contain.
EXTRAS = ("steps_per_second", "parameters", *(f"{split}_examples" for split in SPLITS))
_EXTRAS = dict.fromkeys(EXTRAS, _FINITE)

RESULT: Schema = {
    "run": _NAME,
    "record": _TEXT,
    "data": Named(_NAME),
    "status": _one_of("finished", "diverged"),
    "sealed": _FLAG,
    "steps": _WHOLE,
    "selected_step": _WHOLE,
    "task": _NAME,
    "monitor": {
        "name": _NAME,
        "direction": _one_of(*monitor.DIRECTIONS),
        "value": _FINITE,
        "terms": Named(_FINITE),
        "first": Named(_FINITE),
    },
    **dict.fromkeys(SPLITS, _TASK_METRICS),
    **_EXTRAS,
}
MANIFEST: Schema = {
    "seed": _WHOLE,
    # Entries that determine how the run is compared.
    "method": {
        "combiner": _NAME,
        "static": _FLAG,
        "task_weights": Named(_FINITE),
        "directions": Named(Named(_DIRECTION), "/"),
        "one_unit": _FLAG,
        "parameters": _FINITE,
    },
    "sessions": [{"throughput": {"steps": _FINITE, "steps_per_second": _FINITE}}],
    **_EXTRAS,
}
# Written by a run at a rung.
PAUSED: Schema = {"steps": _WHOLE}
# Written by a run when it begins.
RUN: Schema = {"hash": _NAME, "files": Named(_NAME), "settings": Named(_TEXT)}
# The runs that make up a run that branched from another one.
LINEAGE: Schema = {
    "runs": [
        {
            "run": _NAME,
            "first_step": _WHOLE,
            "changed": Named({"from": _SENTENCE, "to": _SENTENCE}),
        }
    ]
}
FAILED: Schema = {"reason": _SENTENCE}
SEARCH: Schema = {"search": {"goal": _NAME}}
# A line of the log with a task's weight.
WEIGHT: Schema = {"step": _WHOLE, "task": _NAME, "value": _MEASURED}
STUDY: Schema = {
    "name": _NAME,
    "baseline": _NAME,
    "remarks": [_SENTENCE],
    "runs": [
        {"hash": _kind("16 hexadecimal digits", (str,), re.compile("[0-9a-f]{16}").fullmatch)}
    ],
}
# The entry of a study for one run; an error here affects that run only.
LISTED: Schema = {
    "method": _NAME,
    "role": _one_of("baseline", "method", "replay", "single"),
    "stage": _one_of(SELECT, MEASURE),
    "seed": _WHOLE,
    "bindings": _kind(
        f"gin statements, or values nested at most {_DEEPEST} deep", (list, dict), _configures
    ),
}
