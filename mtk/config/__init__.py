"""Configuration by gin: the only module that knows it.

Functions and classes are configured as they are, by gin's dynamic registration: the library needs
no decorators and works without any configuration.
"""

import importlib.util  # noqa: F401  gin uses it without importing it
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config_parser

from mtk.config import check, relevance, source
from mtk.config.source import ConfigError

__all__ = [
    "ConfigError",
    "asked",
    "bindings",
    "bound",
    "explain",
    "operative",
    "parse",
    "values",
]

_asked = ""
_checker = check.Checker()


def parse(files: Sequence[str | Path] = (), bindings: Sequence[str] = ()) -> str:
    """Puts a configuration in force, in place of the last one.

    Args:
        files: Gin files, the later overlaying the earlier.
        bindings: Statements that overlay the files, such as `experiment.run.epochs = 3`. What the
            files import is known to them.

    Returns:
        The configuration as one text that can be parsed alone.

    Raises:
        ConfigError: With the file, the line, what is wrong and, if there is one, a suggestion.
    """
    global _asked, _checker
    lines = source.read(files, bindings)
    checker = check.Checker()
    for chunk in source.chunks(lines):
        for statement, line in _statements(chunk):
            _follow(checker, statement, line)
    checker.finish()
    gin.clear_config()
    gin.parse_config("\n".join(line.text for line in lines))
    gin.finalize()
    _asked, _checker = source.as_text(lines), checker
    return _asked


def bound(function: Callable[..., Any], given: Sequence[str] = ()) -> Callable[..., Any]:
    """Returns `function` with the parameters that the configuration binds.

    Args:
        function: A function or class.
        given: Names of the parameters that the caller will pass himself.

    Raises:
        ConfigError: If a parameter without a default is neither given nor bound.
    """
    values = [b for b in _checker.bindings.values() if b.target is function]
    names = {value.parameter for value in values}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is parameter.empty and name not in {*names, *given}:
            home = function.__module__.rpartition(".")[2]
            raise ConfigError(
                f"The configuration gives no {name!r}. Give a config file, or bind "
                f"{home}.{function.__name__}.{name}."
            )
    return gin.get_configurable(function) if values else function


def values(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns what the configuration binds to a function's parameters, with references resolved.

    Args:
        function: A function or class.
    """
    names = [key for key, b in _checker.bindings.items() if b.target is function]
    return gin.get_bindings(gin.get_configurable(function)) if names else {}


def asked() -> str:
    """Returns the text of the configuration in force, empty if there is none."""
    return _asked


def bindings() -> dict[str, str]:
    """Returns every binding in force, by the name of what it binds; macros have their values.

    Equal for two configurations that say the same in other words, from other files.
    """
    return {_checker.name(key): repr(_checker.value(b)) for key, b in _checker.bindings.items()}


def operative() -> str:
    """Returns the parameters that were used so far, defaults included, as a gin text."""
    return gin.operative_config_str() if _asked else ""


def explain(error: Exception) -> str:
    """Returns an error's message, with the lines that configured what it speaks of.

    Args:
        error: An error raised inside a configured function; gin has added the names of the
            functions to its message, the innermost first.
    """
    message, *calls = str(error).split("\n  In call to configurable ")
    names = [name[1] for call in calls if (name := re.match(r"'(.+?)'", call))]
    # The root meets the faults of everything it was given: there only what is surely meant counts.
    innermost, needed = (names[0], 1) if len(names) > 1 else ("", relevance.SURE)
    scores = {
        key: relevance.score(key[2], _checker.value(binding), message)
        for key, binding in _checker.bindings.items()
        if names and (not innermost or key[1].rpartition(".")[2] == innermost)
    }
    most = max([needed, *scores.values()])
    places = [
        line.where
        for key, found in scores.items()
        for line in _checker.origin(_checker.bindings[key])
        if found == most
    ]
    if innermost and not places:
        places = [f"in {innermost}"]
    return "\n  ".join([message, *places])


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros as they are written."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
        return check.Unresolved(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Any:
        return check.Macro(macro_name)


def _statements(chunk: list[source.Line]) -> Iterator[tuple[Any, source.Line]]:
    """Yields the statements of a part of the text, each with its line."""
    start = 1
    try:
        text = io.StringIO("\n".join(line.text for line in chunk) + "\n")
        parser = config_parser.ConfigParser(text, _Delegate())
        while statement := parser.parse_statement():
            yield statement, chunk[statement.location.line_num - 1]
            start = parser.current_token.start[0]
    except (SyntaxError, tokenize.TokenError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        problem, number = _syntax(error, _skip_empty(chunk, start))
        line = chunk[min(number, len(chunk)) - 1]
        raise ConfigError(f"{problem}\n  {line.where}") from None


def _syntax(error: Exception, start: int) -> tuple[str, int]:
    """Returns what is wrong, and in which line of the chunk."""
    location = error.args[1] if len(error.args) > 1 else None
    if isinstance(location, config_parser.Location):
        if "parse value" in error.args[0] or "parse token" in error.args[0]:
            return "The value is not understood. A text needs quotes.", location.line_num
        return error.args[0], location.line_num
    if isinstance(error, IndentationError):
        return "The indentation does not fit the lines above.", error.lineno or start
    if isinstance(error, ValueError):
        return str(error), start
    return "A bracket or a quote that is opened here is never closed.", start


def _skip_empty(chunk: list[source.Line], number: int) -> int:
    while number < len(chunk) and not chunk[number - 1].text.split("#")[0].strip():
        number += 1
    return number


def _follow(checker: check.Checker, statement: Any, line: source.Line) -> None:
    if isinstance(statement, config_parser.ImportStatement):
        if not statement.module.startswith("__gin__"):
            whole = not statement.is_from and not statement.alias
            checker.add_import(statement.module, statement.bound_name(), whole, line)
    elif isinstance(statement, config_parser.BlockDeclaration):
        checker.add_target(statement.selector, line)
    else:
        checker.add_binding(
            statement.scope, statement.selector, statement.arg_name, statement.value, line
        )
