"""The parameters of a run, as it recorded them when it began, or as its study lists them."""

import ast
import contextlib
import functools
import re
from collections.abc import Mapping
from typing import Any

from mtk.analysis import plain_text
from mtk.analysis.schema import SPLITS

_REFERENCE = re.compile(r"@[A-Za-z_][\w./]*(\(\))?")
_BINDING = re.compile(r"([A-Za-z_][\w./]*) = (.*)", re.DOTALL)
_MODULE = "module of "
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


def recorded(settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns the parameters that `run.json` records.

    Args:
        settings: Texts of values by name; references begin with an `@`.

    Returns:
        `{name: value}` with numbers, texts, booleans and None as Python values. A reference is its
        name without the `@`. Lists, tuples and dicts are texts, so that every value has an order
        and can be grouped; tuples are written as lists and the keys of dicts in order, as far as
        JSON can tell them. Everything can be shown (see `plain_text`).
    """
    own = {name: text for name, text in settings.items() if not name.startswith(_MODULE)}
    return {_shown(name): _literal(text) for name, text in own.items() if "." in name}


def listed(bindings: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """Returns the parameters that a study lists for a run, as `recorded` would.

    Args:
        bindings: `{name: value}`, or statements `name = value`.
    """
    if isinstance(bindings, list):
        found = [match for line in bindings if (match := _BINDING.fullmatch(line))]
        return recorded({match[1]: match[2] for match in found})
    return {_shown(name): _plain(value) for name, value in bindings.items() if "." in name}


def _shown(name: str) -> str:
    """Returns the name of a parameter, unlike those of all metrics, `<split>/<task>/<metric>`."""
    scopes = RENAMED.get(name, name).split("/")
    joint = ":" if scopes[0] in SPLITS and len(scopes) > 2 else "/"
    return plain_text.name(joint.join(scopes))


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
    value = _sorted(value)
    if isinstance(value, (list, dict)):
        return repr(value)
    return plain_text.printable(value) if isinstance(value, str) else value


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_sorted(key)): _sorted(value[key]) for key in sorted(value, key=_text)}
    if isinstance(value, (list, tuple)):
        return [_sorted(item) for item in value]
    if isinstance(value, (float, str, bool, type(None))):
        return value
    return value if isinstance(value, int) and abs(value) <= _LARGEST else _text(value)


def _text(value: Any) -> str:
    return hex(value) if isinstance(value, int) and abs(value) > _LARGEST else str(value)
