"""A configuration that was read and checked, but is not in force."""

import io
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gin import config_parser

from mtk.config import check, source, types
from mtk.config.source import ConfigError

# Prefix of the keys that record the module of a name.
MODULE_OF = "module of "


class Draft:
    """A configuration as text, with its bindings.

    Args:
        checker: The checker of the statements; by default the one that imports the modules.

    Attributes:
        lines: The text.
        checker: As given.
    """

    def __init__(self, checker: check.Checker | None = None) -> None:
        self.lines: list[source.Line] = []
        self.checker = checker or check.Checker()

    @classmethod
    def read(cls, files: Sequence[str | Path], checker: check.Checker | None = None) -> "Draft":
        """Reads files; later files override earlier ones.

        Args:
            files: Paths of gin files.
            checker: See the class.

        Raises:
            ConfigError: With the file, the line, the problem and, if there is one, a suggestion.
        """
        draft = cls(checker)
        draft._add(source.read(files))
        return draft

    def overlaid(self, bindings: Sequence[str], origin: str = source.COMMAND_LINE) -> "Draft":
        """Returns another draft, in which statements override this one.

        Args:
            bindings: Statements such as `experiment.Training.epochs = 3`. They can use the
                imports of the files.
            origin: Their origin, for error messages.

        Raises:
            ConfigError: If a statement is wrong.
        """
        other = Draft(self.checker.copy())
        other.lines = list(self.lines)
        other._add(source.statements(bindings, origin))
        return other

    def finish(self) -> None:
        """Checks what is only known when the draft is complete.

        Raises:
            ConfigError: See `read`; for macros, missing values and types.
        """
        self.checker.finish()

    @classmethod
    def of(cls, lines: Sequence[source.Line]) -> "Draft":
        """Returns a draft from the lines of another one.

        Args:
            lines: The whole text.

        Raises:
            ConfigError: See `read`.
        """
        draft = cls()
        draft._add(list(lines))
        return draft

    def values(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Returns the bindings of a function's parameters, with references as `Reference`s."""
        checker = self.checker
        return {
            binding.parameter: checker.value(binding)
            for (scope, _, _), binding in checker.bindings.items()
            if binding.target is function and not scope
        }

    def refuse(self, package: str, problem: str, parameter: str | None = None) -> None:
        """Rejects bindings of a parameter, or of any parameter, of a package's definitions.

        Args:
            package: The package or module.
            problem: The problem, in words.
            parameter: Name of the parameter.

        Raises:
            ConfigError: With the problem and the first such line, if there is one.
        """
        for line in self.checker.lines_for(package, parameter)[:1]:
            check.fail(line, problem)

    def require(self, package: str, problem: str) -> None:
        """Rejects a configuration without any binding of a package's definitions.

        Args:
            package: The package or module.
            problem: The problem, in words.

        Raises:
            ConfigError: With the problem, if there is no such binding.
        """
        if not self.checker.lines_for(package):
            raise ConfigError(problem)

    @property
    def imported(self) -> set[str]:
        """Names of the modules that it imports."""
        return self.checker.imported

    @property
    def folders(self) -> list[Path]:
        """Folders of the files that it was read from, including included files."""
        return source.folders(self.lines)

    @property
    def text(self) -> str:
        """The configuration as one text that can be parsed on its own."""
        return source.as_text(self.lines)

    def bindings(self) -> dict[str, str]:
        """Returns every binding by the name of the parameter; macros have their values.

        Equivalent configurations have equal bindings, even if they are written differently.
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
        """Returns the modules of bound and referenced objects, by their names after "module of ".

        Two configurations with the same bindings may use one name for objects of different modules.
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
        """Returns the bindings of a function, of its references, and so on, as texts."""
        checker = self.checker
        return {
            checker.name(key, whole=True): repr(checker.canonical(bound))
            for key, bound in checker.met_by(function).items()
        }

    def unmet(self, function: Callable[..., Any]) -> set[str]:
        """Returns the parameters, as written, that a call of a function does not read.

        They belong to objects that no binding of the function refers to, directly or indirectly.
        """
        met = self.checker.met_by(function)
        return {".".join(key[1:]) for key in self.checker.bindings if key not in met}

    def _add(self, lines: list[source.Line]) -> None:
        self.lines += lines
        for chunk in source.chunks(lines):
            for statement, line in _statements(chunk):
                _follow(self.checker, statement, line)


class _Delegate(config_parser.ParserDelegate):
    """Keeps references and macros unresolved."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Any:
        return check.Unresolved(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Any:
        return check.Macro(macro_name)


def _statements(chunk: list[source.Line]) -> Iterator[tuple[Any, source.Line]]:
    """Yields the statements of a chunk of the text, each with its line."""
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
    """Returns the problem, and the number of its line in the chunk."""
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
    """See `_syntax`: for an error whose message depends on the Python version."""
    words, (row, _) = error.args
    if "null" in words:
        return "A configuration cannot contain a null byte.", row
    if "nested" in words:
        return "Brackets are nested too deeply here.", row
    # The end of the text does not show where the bracket was opened.
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
