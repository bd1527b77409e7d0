"""Configuration by gin: the only module that knows it.

Functions and classes are configured as they are, by gin's dynamic registration: the library needs
no decorators and works without any configuration.
"""

import dataclasses
import functools
import importlib.util  # noqa: F401  gin uses it without importing it
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gin
from gin.utils import augment_exception_message_and_reraise

from mtk import errors, resources
from mtk.config import check, explanation, types
from mtk.config.draft import MODULE_OF, Draft
from mtk.config.early import EarlyChecker
from mtk.config.source import ConfigError, Line, as_text, find
from mtk.config.types import Reference, refers

__all__ = [
    "MODULE_OF",
    "ConfigError",
    "Draft",
    "Line",
    "Reference",
    "apply",
    "as_text",
    "asked",
    "bindings",
    "bound",
    "bound_values",
    "check_names",
    "exit_code",
    "explain",
    "find",
    "modules",
    "operative",
    "parse",
    "read_names",
    "refers",
    "values",
]

_PLAIN = (bool, int, float, str, tuple, type(None))
_draft = Draft()
# What gin does not know of: what was called through another function, groups without a binding.
_replaced: list[Callable[..., Any]] = []
_unbound: list[Any] = []


def parse(
    files: Sequence[str | Path] = (), bindings: Sequence[str] = (), trusted: bool = True
) -> str:
    """Puts a configuration in force, in place of the last one.

    Args:
        files: Gin files, the later overlaying the earlier.
        bindings: Statements that overlay the files, such as `experiment.Training.epochs = 3`. What
            the files import is known to them.
        trusted: Whether the files may import and name whatever they do. Those of somebody else
            are programs: otherwise they may name only what a run is made of.

    Returns:
        The configuration as one text that can be parsed alone.

    Raises:
        ConfigError: With the file, the line, what is wrong and, if there is one, a suggestion.
    """
    return apply(Draft.read(files, check.Checker(trusted)).overlaid(bindings))


def apply(draft: Draft) -> str:
    """Puts a draft in force, in place of the last configuration.

    Args:
        draft: A whole configuration.

    Returns:
        As `parse`.

    Raises:
        ConfigError: As `parse`.
    """
    global _draft
    draft.finish()
    gin.clear_config()
    gin.parse_config("\n".join(line.text for line in draft.lines))
    gin.finalize()
    _replaced.clear()
    _unbound.clear()
    _draft = draft
    return asked()


def check_names(
    files: Sequence[str | Path] = (), bindings: Sequence[str] = (), needs_data: bool = False
) -> Draft:
    """Finds missing files and misspelled names, without importing what a configuration names.

    Args:
        files: As for `parse`.
        bindings: As for `parse`.
        needs_data: Whether the data that it names must be there.

    Returns:
        The configuration, with names in the place of what they stand for.

    Raises:
        ConfigError: As `parse`, except for types, and for what is not in the sources of `mtk`.
    """
    draft = read_names(files, needs_data).overlaid(bindings)
    draft.finish()
    return draft


def required(files: Sequence[str | Path] = (), bindings: Sequence[str] = ()) -> list[str]:
    """Returns the names of the macros that a configuration leaves to the command line.

    Args:
        files: As for `parse`.
        bindings: As for `parse`.

    Raises:
        ConfigError: As `check_names`.
    """
    macros = read_names(files).overlaid(bindings).checker.macros
    return [name for name, bound in macros.items() if bound.value == check.Macro(check.REQUIRED)]


def read_names(files: Sequence[str | Path], needs_data: bool = False) -> Draft:
    """Reads files like `Draft.read`, without importing what they name; see `check_names`."""
    return Draft.read(files, EarlyChecker(needs_data))


def bound(
    function: Callable[..., Any],
    given: Sequence[str] = (),
    instead: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Returns `function` with the parameters that the configuration binds.

    A parameter whose type is a dataclass, and that nothing else gives, is made of what the
    configuration binds to the fields of that class.

    Args:
        function: A function or class.
        given: Names of the parameters that the caller will pass himself.
        instead: What to call in place of `function`, with those of the parameters that it has.

    Raises:
        ConfigError: If a parameter without a default is neither given nor bound.
    """
    names = {b.parameter for b in _draft.checker.bindings.values() if b.target is function}
    made = {n: kind for n, kind in types.groups(function).items() if n not in {*names, *given}}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is parameter.empty and name not in {*names, *given, *made}:
            raise ConfigError(
                f"The configuration does not set {name!r}. Give a config file, or bind "
                f"{_as_written(function)}.{name}."
            )
    configured = gin.get_configurable(function) if names else function
    if not names and dataclasses.is_dataclass(function):
        _unbound.append(function)
    if instead is not None:
        configured = functools.partial(_call_instead, function, instead)

    def call(*args: Any, **passed: Any) -> Any:
        groups = {name: bound(kind)() for name, kind in made.items() if name not in passed}
        return configured(*args, **{**groups, **passed})

    return call if made else configured


def _call_instead(function: Callable[..., Any], instead: Callable[..., Any], **passed: Any) -> Any:
    """Calls `instead` with what is bound to `function`, as gin would call that one."""
    arguments = {**values(function), **passed}
    known = inspect.signature(instead).parameters
    _replaced.append(function)
    try:
        return instead(**{name: value for name, value in arguments.items() if name in known})
    except Exception as error:
        told = f"\n  In call to configurable {function.__name__!r}"
        augment_exception_message_and_reraise(error, told)
        raise


def _as_written(function: Callable[..., Any]) -> str:
    """Returns the name of a function or class by the package that shows it, else its module."""
    module = function.__module__
    package = module.rpartition(".")[0]
    name = function.__name__
    shown = getattr(sys.modules.get(package), name, None) is function
    return f"{(package if shown else module).rpartition('.')[2]}.{name}"


def values(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns what the configuration binds to a function's parameters, with references resolved.

    Args:
        function: A function or class.
    """
    names = [key for key, b in _draft.checker.bindings.items() if b.target is function]
    return gin.get_bindings(function) if names else {}


def asked() -> str:
    """Returns the text of the configuration in force, empty if there is none."""
    return _draft.text if _draft.lines else ""


def bindings() -> dict[str, str]:
    """Returns every binding in force, by the name of what it binds; macros have their values.

    Equal for two configurations that say the same in other words, from other files.
    """
    return _draft.bindings()


def modules() -> dict[str, str]:
    """Returns where what the configuration in force names is defined; see `Draft.modules`."""
    return _draft.modules()


def bound_values(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns what the configuration binds to a function's parameters, with `Reference`s in it.

    Args:
        function: A function or class.
    """
    return _draft.values(function)


def operative() -> str:
    """Returns the parameters that were used so far, defaults included, as a gin text."""
    if not _draft.lines:
        return ""
    names = tuple(f"{_as_written(function)}." for function in _replaced)
    own = [f"{name} = {text}" for name, text in bindings().items() if name.startswith(names)]
    own += [
        f"{_as_written(group)}.{field.name} = {field.default!r}"
        for group in dict.fromkeys(_unbound)
        for field in dataclasses.fields(group)
        if isinstance(field.default, _PLAIN)
    ]
    return "\n".join([gin.operative_config_str(), *own])


def explain(error: Exception) -> str:
    """Returns an error's message, with the lines that configured what it speaks of.

    Args:
        error: An error raised inside a configured function.
    """
    return explanation.explained(error, _draft.checker)


def exit_code(command: Callable[[], int], traceback: bool = False) -> int:
    """Does a command, and says in a line what is wrong with what it was given.

    Args:
        command: Returns its exit code.
        traceback: Whether an error is raised instead, so that it shows where it arose.
    """
    try:
        return command()
    except Exception as error:
        full = errors.out_of_memory(error)
        if traceback or not (full or isinstance(error, (ValueError, OSError, ImportError))):
            raise
        print(f"error: {full or explain(error)}", file=sys.stderr)
        return resources.exit_code(error)
