"""What makes two starts the same run: its arguments and its configuration."""

import functools
from collections.abc import Mapping
from typing import Any

from mtk import config

# Where and how a run is shown is not what it computes.
_NOT_THE_RUN = ("run_dir", "dry_run", "dry_run_batch", "profile_steps")


def settings(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Returns the arguments of `run` and every binding in force, as texts by their names.

    Args:
        arguments: Arguments of `run` by name.
    """
    own = {
        f"experiment.run.{name}": _text(value)
        for name, value in arguments.items()
        if name not in _NOT_THE_RUN
    }
    return {**own, **config.bindings()}


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Returns the settings that differ, a line each; empty if none does."""
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return "\n".join(
        f"  {name}: {before.get(name, 'not set')} in the folder, {now.get(name, 'not set')} now"
        for name in names
    )


def _text(value: Any) -> str:
    """Returns a text that is the same in every process."""
    if isinstance(value, functools.partial):
        given = [*map(_text, value.args), *(f"{k}={_text(v)}" for k, v in value.keywords.items())]
        return f"{_text(value.func)}({', '.join(given)})"
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    return repr(value)
