"""Reads the configuration that a run left behind, without gin."""

import ast
import functools
import re
from typing import Any

_BINDING = re.compile(r"^([A-Za-z_][\w./]*) = (.*)$")


def parse(text: str) -> dict[str, Any]:
    """Returns the bindings of an operative configuration.

    The text is gin's own output: a binding a line, longer values on indented lines below it. It
    names nothing that must be imported to be read.

    Args:
        text: Of `operative_config.gin`.

    Returns:
        `{name: value}` with numbers, texts, booleans and None as Python values. A reference is its
        name without the `@`. Lists, tuples and dicts are texts, so that every value has
        an order and can be grouped. Macros are followed. Without the bindings whose value is the
        macro `%seed`, and that macro itself: they tell no two configurations apart.
    """
    raw = _raw(text)
    return {name: _value(raw, given) for name, given in raw.items() if not _is_seed(name, given)}


def from_bindings(bindings: dict[str, Any] | list[str]) -> dict[str, Any]:
    """Returns the bindings that a study recorded for a run, as `parse` would.

    Args:
        bindings: `{name: value}`, or gin statements `name = value`.
    """
    if isinstance(bindings, list):
        return parse("\n".join(bindings))
    simple = (int, float, str, bool, type(None))
    values = {k: v if isinstance(v, simple) else repr(v) for k, v in bindings.items()}
    return {name: value for name, value in values.items() if not _is_seed(name, value)}


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


def _is_seed(name: str, value: Any) -> bool:
    return value == "%seed" or name in ("seed", "experiment.run.seed")


def _value(raw: dict[str, str], given: str, depth: int = 9) -> Any:
    if given.startswith("%") and given[1:] in raw and depth:
        return _value(raw, raw[given[1:]], depth - 1)
    return _literal(given)


@functools.lru_cache(maxsize=10_000)
def _literal(text: str) -> Any:
    if text.startswith("@"):
        return text[1:].removesuffix("()")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return text if isinstance(value, (list, tuple, dict, set)) else value
