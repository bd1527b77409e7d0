"""A configuration that is read and checked, but not in force."""

import io
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gin import config_parser

from mtk.config import check, source, types
from mtk.config.source import ConfigError

# Begins the keys that tell which module a name belongs to.
MODULE_OF = "module of "


class Draft:
    """A configuration as a text, with what it binds.

    Args:
        checker: What the statements are followed by; by default what imports the modules.

    Attributes:
        lines: The text.
        checker: As given.
    """

    def __init__(self, checker: check.Checker | None = None) -> None:
        self.lines: list[source.Line] = []
        self.checker = checker or check.Checker()

    @classmethod
    def read(cls, files: Sequence[str | Path], checker: check.Checker | None = None) -> "Draft":
        """Reads files, the later overlaying the earlier.

        Args:
            files: Paths of gin files.
            checker: As for the class.

        Raises:
            ConfigError: With the file, the line, what is wrong and, if there is one, a suggestion.
        """
        draft = cls(checker)
        draft._add(source.read(files))
        return draft

    def overlaid(self, bindings: Sequence[str], origin: str = source.COMMAND_LINE) -> "Draft":
        """Returns another draft in which statements overlay this one.

        Args:
            bindings: Statements such as `experiment.Training.epochs = 3`. What the files import
                is known to them.
            origin: Where they come from, for error messages.

        Raises:
            ConfigError: If a statement is wrong.
        """
        other = Draft(self.checker.copy())
        other.lines = list(self.lines)
        other._add(source.statements(bindings, origin))
        return other

    def finish(self) -> None:
        """Checks what can only be known when nothing follows.

        Raises:
            ConfigError: As `read`, for macros, missing values and types.
        """
        self.checker.finish()

    @classmethod
    def of(cls, lines: Sequence[source.Line]) -> "Draft":
        """Returns a draft of lines that another one has.

        Args:
            lines: The whole text.

        Raises:
            ConfigError: As `read`.
        """
        draft = cls()
        draft._add(list(lines))
        return draft

    def values(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Returns what is bound to the parameters of a function, with `Reference`s in it."""
        checker = self.checker
        return {
            binding.parameter: checker.value(binding)
            for (scope, _, _), binding in checker.bindings.items()
            if binding.target is function and not scope
        }

    def refuse(self, package: str, problem: str, parameter: str | None = None) -> None:
        """Refuses what is bound to a parameter, or to any, of what a package defines.

        Args:
            package: The package or module.
            problem: What is wrong with that.
            parameter: Name of the parameter.

        Raises:
            ConfigError: With the problem and the first such line.
        """
        for line in self.checker.lines_for(package, parameter)[:1]:
            check.fail(line, problem)

    def require(self, package: str, problem: str) -> None:
        """Refuses a configuration that binds nothing of what a package defines.

        Args:
            package: The package or module.
            problem: What is wrong with that.

        Raises:
            ConfigError: With the problem.
        """
        if not self.checker.lines_for(package):
            raise ConfigError(problem)

    @property
    def imported(self) -> set[str]:
        """Names of the modules that it imports."""
        return self.checker.imported

    @property
    def folders(self) -> list[Path]:
        """Folders of the files that it was read from, those of includes too."""
        return source.folders(self.lines)

    @property
    def text(self) -> str:
        """The configuration as one text that can be parsed alone."""
        return source.as_text(self.lines)

    def bindings(self) -> dict[str, str]:
        """Returns every binding, by the name of what it binds; macros have their values.

        Equal for two configurations that say the same in other words, from other files.
        """
        checker = self.checker
        names = {key: checker.name(key) for key in checker.bindings}
        targets: dict[str, Any] = {}
        for key, name in names.items():
            if targets.setdefault(name, checker.bindings[key].target) is not (
                checker.bindings[key].target
            ):
                names[key] = checker.name(key, whole=True)
        return {names[key]: repr(checker.canonical(b)) for key, b in checker.bindings.items()}

    def modules(self) -> dict[str, str]:
        """Returns where what is bound or referred to is defined, by its name behind "module of ".

        Of two configurations with the same bindings, one may mean what another module calls so.
        """
        checker = self.checker
        found: dict[str, str] = {}
        for key, bound in checker.bindings.items():
            name = checker.name(key).removesuffix(f".{bound.parameter}").split("/")[-1]
            found.setdefault(name, check.whole_name(bound.target))
            for reference in types.references(checker.value(bound)):
                found[f"@{reference.name}"] = check.whole_name(reference.target)
        return {f"{MODULE_OF}{name}": place for name, place in found.items()}

    def met(self, function: Callable[..., Any]) -> dict[str, str]:
        """Returns what is bound to a function, to what that refers to, and so on, as texts."""
        checker = self.checker
        return {
            checker.name(key, whole=True): repr(checker.canonical(bound))
            for key, bound in checker.met_by(function).items()
        }

    def unmet(self, function: Callable[..., Any]) -> set[str]:
        """Returns the parameters, as they are written, that a call of a function does not read.

        They are bound to what no binding of the function refers to, directly or not.
        """
        met = self.checker.met_by(function)
        return {".".join(key[1:]) for key in self.checker.bindings if key not in met}

    def _add(self, lines: list[source.Line]) -> None:
        self.lines += lines
        for chunk in source.chunks(lines):
            for statement, line in _statements(chunk):
                _follow(self.checker, statement, line)


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
    except (SyntaxError, tokenize.TokenError, ValueError, RecursionError) as error:
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
            return "The value cannot be parsed. Strings need quotes.", location.line_num
        return error.args[0], location.line_num
    if isinstance(error, IndentationError):
        return "The indentation does not match the lines above.", error.lineno or start
    if isinstance(error, ValueError):
        return str(error), start
    if isinstance(error, RecursionError):
        return "Brackets are nested too deeply here.", start
    if isinstance(error, tokenize.TokenError):
        return _token(error, start)
    return "This line cannot be parsed. A binding has the form NAME = VALUE.", start


def _token(error: tokenize.TokenError, start: int) -> tuple[str, int]:
    """As `_syntax`, of an error whose words depend on the version of Python."""
    words, (row, _) = error.args
    if "null" in words:
        return "A configuration cannot contain a null byte.", row
    if "nested" in words:
        return "Brackets are nested too deeply here.", row
    # The end of the text tells nothing of where it was opened.
    return (
        "A bracket or quote opened here is never closed.",
        start if "EOF" in words else row,
    )


def _skip_empty(chunk: list[source.Line], number: int) -> int:
    while number < len(chunk) and not chunk[number - 1].text.split("#")[0].strip():
        number += 1
    return number


def _follow(checker: check.Checker, statement: Any, line: source.Line) -> None:
    if isinstance(statement, config_parser.IncludeStatement):
        raise ConfigError(
            "An include must be in a file, on its own line: include 'FILE'. On the command "
            "line, use --gin_file=FILE.\n"
            f"  {line.where}"
        )
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
