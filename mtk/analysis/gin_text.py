"""Reads the configuration that a run left behind, without gin."""

import ast
import contextlib
import functools
import re
from typing import Any

_REFERENCE = re.compile(r"@[A-Za-z_][\w./]*(\(\))?")
_BINDING = re.compile(r"^([A-Za-z_][\w./]*) = (.*)$")


def parse(text: str) -> dict[str, Any]:
    """Returns the bindings of an operative configuration.

    The text is gin's own output: a binding a line, longer values on indented lines below it. It
    names nothing that must be imported to be read.

    Args:
        text: Of `operative_config.gin`.

    Returns:
        `{name: value}` with numbers, texts, booleans and None as Python values. A reference is its
        name without the `@`. Lists, tuples and dicts are texts, so that every value has an order
        and can be grouped; tuples are written as lists and the keys of dicts in order, as far as
        JSON can tell them. Macros are followed, and left out themselves, as are bindings of the
        macro `%seed` and the seed of the run: they tell no two configurations apart.
    """
    raw = _raw(text)
    values = {name: _value(raw, given) for name, given in raw.items() if given != "%seed"}
    return {name: value for name, value in values.items() if _is_parameter(name)}


def seed(text: str) -> int | None:
    """Returns the seed of a run by its operative configuration; None if it does not say."""
    raw = _raw(text)
    found = _value(raw, raw.get("experiment.run.seed", "None"))
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def from_bindings(bindings: dict[str, Any] | list[str]) -> dict[str, Any]:
    """Returns the bindings that a study recorded for a run, as `parse` would.

    Args:
        bindings: `{name: value}`, or gin statements `name = value`.
    """
    if isinstance(bindings, list):
        return parse("\n".join(bindings))
    known = {name: value for name, value in bindings.items() if value != "%seed"}
    return {name: _plain(value) for name, value in known.items() if _is_parameter(name)}


def _raw(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if binding := _BINDING.match(line):
            name = binding[1]
            found[name] = binding[2].removesuffix("\\").strip()
        elif name and line[:1].isspace() and line.strip():
            found[name] += line.strip().removesuffix("\\")
        else:
            name = ""
    return found


def _is_parameter(name: str) -> bool:
    """Tells parameters, which have a dot, from macros."""
    return "." in name and name != "experiment.run.seed"


def _value(raw: dict[str, str], given: str, depth: int = 9) -> Any:
    if given.startswith("%") and given[1:] in raw and depth:
        return _value(raw, raw[given[1:]], depth - 1)
    return _literal(given)


@functools.lru_cache(maxsize=10_000)
def _literal(text: str) -> Any:
    # A reference within a container makes it no literal before it is quoted.
    for given in (text, _REFERENCE.sub(lambda found: repr(found[0]), text)):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return _plain(ast.literal_eval(given))
    return text


def _plain(value: Any) -> Any:
    """Returns a value that has an order and is equal for equal bindings."""
    if isinstance(value, str) and value.startswith("@"):
        return value[1:].removesuffix("()")
    if isinstance(value, (int, float, str, bool, type(None))):
        return value
    return repr(_listed(value))


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _listed(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    return value
