"""Reads the configuration that a run left behind, without gin."""

import ast
import contextlib
import functools
import re
from typing import Any

from mtk.analysis import plain_text
from mtk.analysis.schema import SPLITS

_REFERENCE = re.compile(r"@[A-Za-z_][\w./]*(\(\))?")
_BINDING = re.compile(r"^([A-Za-z_][\w./]*) = (.*)$")
# What runs of earlier versions call by the name of the function, `experiment.run.epochs`.
_GROUPS = {
    "Sharing": "gradients representation shared heads",
    "Optimization": "optimizer learning_rate schedule weight_decay clip_norm batch_size",
    "Training": "epochs steps evaluate_every monitor patience seed",
    "Numerics": "precision on_nonfinite micro_batches jit_compile deterministic strategy",
    "Logging": "log_every measure_every profile_steps callbacks",
}
RENAMED = {
    f"experiment.run.{f}": f"experiment.{g}.{f}" for g in _GROUPS for f in _GROUPS[g].split()
}
RENAMED["experiment.run.checkpoint_every"] = "experiment.Checkpoints.every"
RENAMED["experiment.run.keep_checkpoints"] = "experiment.Checkpoints.keep"
# A longer text is not evaluated, but kept as it is.
_LONGEST = 100_000
# Larger numbers count nothing, and Python refuses to write them in digits.
_LARGEST = 2**63 - 1


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
        macro `%seed` and the seed of the run: they tell no two configurations apart. Everything
        can be shown (see `plain_text`).
    """
    raw = _raw(text)
    values = {name: _value(raw, given) for name, given in raw.items() if given != "%seed"}
    return {_shown(name): value for name, value in values.items() if _is_parameter(name)}


def seed(text: str) -> int | None:
    """Returns the seed of a run by its operative configuration; None if it does not say."""
    raw = _raw(text)
    found = _value(raw, raw.get("experiment.Training.seed", "None"))
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def from_bindings(bindings: dict[str, Any] | list[str]) -> dict[str, Any]:
    """Returns the bindings that a study recorded for a run, as `parse` would.

    Args:
        bindings: `{name: value}`, or gin statements `name = value`.
    """
    if isinstance(bindings, list):
        return parse("\n".join(bindings))
    known = {RENAMED.get(name, name): value for name, value in bindings.items() if value != "%seed"}
    return {_shown(name): _plain(value) for name, value in known.items() if _is_parameter(name)}


def _raw(text: str) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if binding := _BINDING.match(line):
            name = RENAMED.get(binding[1], binding[1])
            found[name] = [binding[2].removesuffix("\\").strip()]
        elif name and line[:1].isspace() and line.strip():
            found[name].append(line.strip().removesuffix("\\"))
        else:
            name = ""
    return {name: "".join(parts) for name, parts in found.items()}


def _is_parameter(name: str) -> bool:
    """Tells parameters, which have a dot, from macros."""
    return "." in name and name != "experiment.Training.seed"


def _shown(name: str) -> str:
    """Returns the name of a parameter, unlike those of all metrics, `<split>/<task>/<metric>`."""
    scopes = name.split("/")
    joint = ":" if scopes[0] in SPLITS and len(scopes) > 2 else "/"
    return plain_text.name(joint.join(scopes))


def _value(raw: dict[str, str], given: str, depth: int = 9) -> Any:
    if given.startswith("%") and given[1:] in raw and depth:
        return _value(raw, raw[given[1:]], depth - 1)
    return _literal(given)


@functools.lru_cache(maxsize=10_000)
def _literal(text: str) -> Any:
    if len(text) > _LONGEST:
        return plain_text.printable(text)
    # A reference within a container makes it no literal before it is quoted.
    for given in (text, _REFERENCE.sub(lambda found: repr(found[0]), text)):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return _plain(ast.literal_eval(given))
    return plain_text.printable(text)


def _plain(value: Any) -> Any:
    """Returns a value that has an order and is equal for equal bindings."""
    if isinstance(value, str) and value.startswith("@"):
        value = value[1:].removesuffix("()")
    value = _listed(value)
    if isinstance(value, (list, dict)):
        return repr(value)
    return plain_text.printable(value) if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_listed(key)): _listed(value[key]) for key in sorted(value, key=_text)}
    if isinstance(value, (list, tuple)):
        return [_listed(item) for item in value]
    if isinstance(value, (float, str, bool, type(None))):
        return value
    return value if isinstance(value, int) and abs(value) <= _LARGEST else _text(value)


def _text(value: Any) -> str:
    return hex(value) if isinstance(value, int) and abs(value) > _LARGEST else str(value)
