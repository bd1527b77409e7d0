"""The parameters of a run, as recorded at its start or as listed by its study."""

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
# Parameters that runs of earlier versions name by the function, such as `experiment.run.epochs`.
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
# Longer strings are kept as they are, without evaluation.
_LONGEST = 100_000
# No count is larger, and Python refuses to print huge integers.
_LARGEST = 2**63 - 1


def recorded(settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns the parameters that `run.json` records.

    Args:
        settings: Values as strings, by name; references begin with an `@`.

    Returns:
        `{name: value}` with numbers, strings, booleans and None as Python values. A reference is
        its name without the `@`. Lists, tuples and dicts are strings, so that every value can be
        sorted and grouped; tuples are written as lists, and dicts with sorted keys, as far as JSON
        can represent them. All values are safe to display (see `plain_text`).
    """
    own = {name: text for name, text in settings.items() if not name.startswith(_MODULE)}
    return {_shown(name): _literal(text) for name, text in own.items() if "." in name}


def listed(bindings: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """Returns the parameters that a study lists for a run, in the form of `recorded`.

    Args:
        bindings: `{name: value}`, or a list of statements `name = value`.
    """
    if isinstance(bindings, list):
        found = [match for line in bindings if (match := _BINDING.fullmatch(line))]
        return recorded({match[1]: match[2] for match in found})
    return {_shown(name): _plain(value) for name, value in bindings.items() if "." in name}


def _shown(name: str) -> str:
    """Returns the name of a parameter, made distinct from metrics, `<split>/<task>/<metric>`."""
    scopes = RENAMED.get(name, name).split("/")
    joint = ":" if scopes[0] in SPLITS and len(scopes) > 2 else "/"
    return plain_text.name(joint.join(scopes))


@functools.lru_cache(maxsize=10_000)
def _literal(text: str) -> Any:
    if len(text) > _LONGEST:
        return plain_text.printable(text)
    # A container with a reference is not a literal until the reference is quoted.
    for given in (text, _REFERENCE.sub(lambda found: repr(found[0]), text)):
        with contextlib.suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return _plain(ast.literal_eval(given))
    return plain_text.printable(text)


def _plain(value: Any) -> Any:
    """Returns a value that can be sorted and is equal for equal bindings."""
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
