"""The settings that identify a run: its arguments and its configuration."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from mtk import config
from mtk.experiment.contents import UnidentifiedError, identified
from mtk.experiment.options import GROUPS

# These settings only control where a run is written, recorded and paused, not its computation.
_NOT_THE_RUN = ("run_dir", "profile_steps", "pause_at", "keep_pauses")
_MAIN = f"{config.MODULE_OF}__main__"


def settings(function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, str]:
    """Returns the arguments of a run and every binding in force, as texts by name.

    A value from the configuration has the text of its binding; a value given in another way has a
    text of its contents, even if the configuration binds something else. An argument group has a
    text per field. The modules of names in texts are recorded under keys that begin with
    "module of ".

    Args:
        function: `mtk.experiment.run`.
        arguments: Its arguments by name.

    Raises:
        ValueError: If an argument cannot be identified.
    """
    bindings = config.bindings()
    for owner, name, value in _flat(function, arguments):
        bound, key = config.bound_values(owner), f"experiment.{owner.__name__}.{name}"
        known = name in bound and key in bindings
        if name in _NOT_THE_RUN:
            bindings.pop(key, None)
        elif not known or not _comes_from(bound[name], value):
            bindings[key] = _text(name, value)
    found = {**bindings, **config.modules()}
    if any("__main__." in text for text in found.values()):
        # Two programs may use the same name for different objects.
        found[_MAIN] = str(getattr(sys.modules["__main__"], "__file__", "an interactive session"))
    return found


def _flat(
    function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[tuple[Callable[..., Any], str, Any]]:
    """Yields, for each argument or field of a group, its function or class, name and value."""
    for name, value in arguments.items():
        if isinstance(value, GROUPS):
            yield from ((type(value), f.name, getattr(value, f.name)) for f in fields(value))
        else:
            yield function, name, value


def alike(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings that are equal on all workers, whose programs may have other paths."""
    return {name: text for name, text in settings.items() if name != _MAIN}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns the settings that differ, one per line; empty if none do."""
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return "\n".join(
        f"  {name}: {before.get(name, 'not set')} in the folder, {now.get(name, 'not set')} now"
        for name in names
    )


def _text(name: str, value: Any) -> str:
    try:
        return identified(value)
    except UnidentifiedError as error:
        raise ValueError(
            f"`{name}` has no stable fingerprint: {error}. So a run folder could not be matched "
            f"to it. Define it in a module and give it by its name, `{name}=my_module.{name}`; or "
            "give a function of a module with its arguments, as in "
            f"`{name}=functools.partial(my_module.{name}, size=3)`. Arguments may be numbers, "
            "strings, arrays, and lists of these."
        ) from error


def _comes_from(bound: Any, value: Any) -> bool:
    """Returns whether gin made an argument from the value that a configuration binds to it."""
    if not isinstance(bound, config.Reference):
        return bool(config.refers(bound) or bound == value)
    if bound.evaluated or value is bound.target:
        return True
    if isinstance(value, type):
        return bound.target in value.__mro__
    return callable(value) and inspect.unwrap(value) is bound.target
