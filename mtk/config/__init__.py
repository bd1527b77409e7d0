"""Configuration by gin; no other package uses it.

Functions and classes are configured by gin's dynamic registration: the library needs no
decorators and works without any configuration.
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
# Used parameters that gin does not see: of calls through another function, and unbound groups.
_replaced: list[Callable[..., Any]] = []
_unbound: list[Any] = []


def parse(
    files: Sequence[str | Path] = (), bindings: Sequence[str] = (), trusted: bool = True
) -> str:
    """Applies a configuration, in place of the last one.

    Args:
        files: Gin files; later files override earlier ones.
        bindings: Statements that override the files, such as `experiment.Training.epochs = 3`. They
            can use the imports of the files.
        trusted: Whether the files may import and name anything. Files from others are programs;
            if not trusted, they may only name the parts of a run.

    Returns:
        The configuration as one text that can be parsed on its own.

    Raises:
        ConfigError: With the file, the line, the problem and, if there is one, a suggestion.
    """
    return apply(Draft.read(files, check.Checker(trusted)).overlaid(bindings))


def apply(draft: Draft) -> str:
    """Applies a draft, in place of the last configuration.

    Args:
        draft: A complete configuration.

    Returns:
        See `parse`.

    Raises:
        ConfigError: See `parse`.
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
    """Finds missing files and misspelled names, without importing the modules of a configuration.

    Args:
        files: See `parse`.
        bindings: See `parse`.
        needs_data: Whether the data that it names must exist.

    Returns:
        The configuration, with names in place of objects.

    Raises:
        ConfigError: See `parse`, except for types, and for names outside the sources of `mtk`.
    """
    draft = read_names(files, needs_data).overlaid(bindings)
    draft.finish()
    return draft


def required(files: Sequence[str | Path] = (), bindings: Sequence[str] = ()) -> list[str]:
    """Returns the names of the macros that the command line must define.

    Args:
        files: See `parse`.
        bindings: See `parse`.

    Raises:
        ConfigError: See `check_names`.
    """
    macros = read_names(files).overlaid(bindings).checker.macros
    return [name for name, bound in macros.items() if bound.value == check.Macro(check.REQUIRED)]


def read_names(files: Sequence[str | Path], needs_data: bool = False) -> Draft:
    """Reads files like `Draft.read`, without importing their modules; see `check_names`."""
    return Draft.read(files, EarlyChecker(needs_data))


def bound(
    function: Callable[..., Any],
    given: Sequence[str] = (),
    instead: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Returns `function` with the parameters bound by the configuration.

    A parameter whose type is a dataclass, and that is not given otherwise, is created from the
    bindings of the fields of that class.

    Args:
        function: A function or class.
        given: Names of the parameters that the caller will pass.
        instead: A function to call in place of `function`, with those parameters that it has.

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
    """Calls `instead` with the bindings of `function`, as gin would call the latter."""
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
    """Returns the name of a function or class in its public package, else in its module."""
    module = function.__module__
    package = module.rpartition(".")[0]
    name = function.__name__
    shown = getattr(sys.modules.get(package), name, None) is function
    return f"{(package if shown else module).rpartition('.')[2]}.{name}"


def values(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the bindings of a function's parameters, with references resolved.

    Args:
        function: A function or class.
    """
    names = [key for key, b in _draft.checker.bindings.items() if b.target is function]
    return gin.get_bindings(function) if names else {}


def asked() -> str:
    """Returns the text of the configuration in force, empty if there is none."""
    return _draft.text if _draft.lines else ""


def bindings() -> dict[str, str]:
    """Returns every binding in force by the name of the parameter; macros have their values.

    Equivalent configurations have equal bindings, even if they are written differently.
    """
    return _draft.bindings()


def modules() -> dict[str, str]:
    """Returns the modules of the names in the configuration in force; see `Draft.modules`."""
    return _draft.modules()


def bound_values(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the bindings of a function's parameters, with references as `Reference`s.

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
    """Returns an error's message, with the configuration lines that it refers to.

    Args:
        error: An error raised inside a configured function.
    """
    return explanation.explained(error, _draft.checker)


def exit_code(command: Callable[[], int], traceback: bool = False) -> int:
    """Runs a command, and reports problems with its input in one line.

    Args:
        command: The command, which returns its exit code.
        traceback: Whether to raise errors instead, so that they have a traceback.
    """
    try:
        return command()
    except Exception as error:
        full = errors.out_of_memory(error)
        if traceback or not (full or isinstance(error, (ValueError, OSError, ImportError))):
            raise
        print(f"error: {full or explain(error)}", file=sys.stderr)
        return resources.exit_code(error)
