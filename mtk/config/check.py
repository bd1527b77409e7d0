"""Checks a configuration before gin applies it: names, parameters, macros and types.

Gin finds some of these errors only when a function is called, some not at all, and reports the
location of few.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from mtk.config import names, trust, types
from mtk.config.source import ConfigError, Line, did_you_mean

REQUIRED = "gin.REQUIRED"


@dataclass(frozen=True)
class Macro:
    """A use of a macro, `%name`."""

    name: str


@dataclass(frozen=True)
class Unresolved:
    """An unresolved reference, `@name` or `@name()`."""

    name: str
    evaluated: bool


class Bound(NamedTuple):
    """A value that is bound to a parameter, `target.parameter = value`, or to a macro."""

    value: Any
    line: Line
    target: Any = None
    parameter: str = ""


class Checker:
    """Processes a configuration statement by statement, as gin does.

    Args:
        trusted: Whether the configuration may import anything; otherwise see `trust`.

    Attributes:
        bindings: The last value of each (scope, selector, parameter).
        macros: The last value of each macro.
        imported: Names of the imported modules.
    """

    def __init__(self, trusted: bool = True) -> None:
        self.trusted = trusted
        self.bindings: dict[tuple[str, str, str], Bound] = {}
        self.macros: dict[str, Bound] = {}
        self.imported: set[str] = set()
        self._symbols: dict[str, Any] = {}
        self._uses: dict[str, Line] = {}

    def copy(self) -> "Checker":
        """Returns a copy that can process further statements, which are trusted."""
        other = type(self)()
        other.bindings, other.macros = dict(self.bindings), dict(self.macros)
        other.imported = set(self.imported)
        other._symbols, other._uses = dict(self._symbols), dict(self._uses)
        return other

    def add_import(self, module: str, bound_name: str, whole: bool, line: Line) -> None:
        """Processes `import module` (`whole`) or `from package import module`."""
        if not self.trusted:
            trust.check_import(module, line)
        try:
            imported = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and module.startswith(error.name):
                no_module(error.name, _siblings(error.name), line)
            fail(line, f"{module!r} needs {error.name!r}, which is not installed.")
        except (Exception, SystemExit) as error:  # A user's module may raise anything.
            raise ConfigError(
                f"{module!r} cannot be imported: {type(error).__name__}: {error}. Use "
                "--traceback for details.\n"
                f"  {line.where}"
            ) from error
        self.imported.add(module)
        root = importlib.import_module(module.split(".")[0]) if whole else imported
        self._symbols[bound_name] = root

    def add_target(self, selector: str, line: Line) -> Any:
        """Returns the function or class that `selector` names."""
        first, *rest = selector.split(".")
        if first not in self._symbols:
            not_imported(first, self._symbols, line)
        found = self._symbols[first]
        for attribute in rest:
            if not hasattr(found, attribute):
                owner = getattr(found, "__name__", first)
                public = [name for name in dir(found) if not name.startswith("_")]
                fail(line, f"{owner!r} has no {attribute!r}.{did_you_mean(attribute, public)}")
            found = getattr(found, attribute)
        if isinstance(found, ModuleType) or not callable(found):
            fail(line, f"{selector!r} is not a function or class, so it has no parameters.")
        if not self.trusted:
            trust.check_target(found, line)
        return found

    def add_binding(self, scope: str, selector: str, name: str, value: Any, line: Line) -> None:
        """Processes `scope/selector.name = value`; without `name` it defines a macro."""
        value = self._resolve(value, line)
        if not name:
            macro = f"{scope}/{selector}" if scope else selector
            self.macros[macro] = Bound(value, line)
            return
        target = self.add_target(selector, line)
        self._check_parameter(target, selector, name, line)
        self.bindings[scope, selector, name] = Bound(value, line, target, name)

    def finish(self) -> None:
        """Checks what is only known at the end: macros, required values and types.

        Raises:
            ConfigError: With the location, the problem and a suggestion.
        """
        for name, line in self._uses.items():
            if name not in self.macros and name != REQUIRED:
                fail(line, f"The macro %{name} is not defined.{did_you_mean(name, self.macros)}")
        for name, bound in self.macros.items():
            if name not in self._uses:
                similar = did_you_mean(name, set(self._uses) - {name, REQUIRED})
                fail(bound.line, f"The macro {name!r} is set but never used as %{name}.{similar}")
        for name, bound in (*self.macros.items(), *self._names()):
            used = set(_macros(bound.value))
            if REQUIRED in used:
                fail(bound.line, f"{name!r} needs a value. Set it with --gin.{name}=VALUE.")
            if not bound.target and name in self._leading_to(used):
                fail(bound.line, f"The macro %{name} refers to itself. Give {name!r} a value.")
        for bound in self.bindings.values():
            self._check_type(bound)

    def origin(self, bound: Bound) -> list[Line]:
        """Returns the line of a binding and, if its value is a macro, the macro's line."""
        lines = [bound.line]
        while isinstance(bound.value, Macro) and len(lines) <= len(self.macros):
            bound = self.macros[bound.value.name]
            lines.append(bound.line)
        return lines

    def lines_for(self, package: str, parameter: str | None = None) -> list[Line]:
        """Returns the lines that bind a parameter, or any parameter, of a package's definitions."""
        return [
            bound.line
            for (_, _, name), bound in self.bindings.items()
            if f"{self._module(bound.target)}.".startswith(f"{package}.")
            and parameter in (None, name)
        ]

    def met_by(self, function: Any) -> dict[tuple[str, str, str], Bound]:
        """Returns the bindings of a function, of its groups, of their references, and so on."""
        met: list[Any] = []
        new = [function, *types.groups(function).values()]
        while new:
            target = new.pop()
            if not any(target is each for each in met):
                met.append(target)
                own = [bound for bound in self.bindings.values() if bound.target is target]
                new += [other for bound in own for other in types.referred(self.value(bound))]
        return {
            key: bound
            for key, bound in self.bindings.items()
            if any(bound.target is each for each in met)
        }

    def name(self, key: tuple[str, str, str], whole: bool = False) -> str:
        """Returns a name for a key of `bindings` that does not depend on the form of the imports.

        Args:
            key: The key.
            whole: Whether to include the packages of the module.
        """
        scope, _, parameter = key
        target = self.bindings[key].target
        module = target.__module__ if whole else target.__module__.rpartition(".")[2]
        return f"{scope}{'/' * bool(scope)}{module}.{target.__qualname__}.{parameter}"

    def value(self, bound: Bound) -> Any:
        """Returns the value of a binding, with macros replaced by their values."""
        return self._expand(bound.value)

    def canonical(self, bound: Bound) -> Any:
        """Returns the value of a binding in canonical form, equal for equivalent values."""
        hint = types.hints(bound.target).get(bound.parameter, Any)
        return types.canonical(hint, self.value(bound))

    def _module(self, target: Any) -> str:
        return str(target.__module__)

    def _leading_to(self, used: set[str]) -> set[str]:
        """Returns the given macros, the macros in their values, and so on."""
        new = used
        while new:
            new = {name for each in new for name in _macros(self.macros[each].value)} - used
            new -= {REQUIRED}
            used = used | new
        return used

    def _names(self) -> Iterator[tuple[str, Bound]]:
        for (_, selector, name), bound in self.bindings.items():
            yield f"{selector}.{name}", bound

    def _resolve(self, value: Any, line: Line) -> Any:
        """Resolves references and macros in a value, and records the macros used."""
        if isinstance(value, Unresolved):
            target = self.add_target(value.name.split("/")[-1], line)
            if not self.trusted:
                trust.check_value(target, line)
            return types.Reference(value.name, target, value.evaluated)
        if isinstance(value, Macro):
            self._uses.setdefault(value.name, line)
        elif isinstance(value, dict):
            return {key: self._resolve(item, line) for key, item in value.items()}
        elif isinstance(value, list | tuple):
            return type(value)([self._resolve(item, line) for item in value])
        return value

    def _expand(self, value: Any, depth: int = 0) -> Any:
        while isinstance(value, Macro) and depth <= len(self.macros):
            value, depth = self.macros[value.name].value, depth + 1
        if isinstance(value, dict):
            return {key: self._expand(item, depth) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self._expand(item, depth) for item in value])
        return value

    def _check_parameter(self, target: Any, selector: str, name: str, line: Line) -> None:
        parameters = inspect.signature(target).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        # Keras' classes accept any name and reject it later: likely typos are reported here.
        if name not in parameters and (not takes_any or did_you_mean(name, parameters)):
            no_parameter(selector, name, parameters, line)

    def _check_type(self, bound: Bound) -> None:
        value = self.value(bound)
        hint = types.hints(bound.target).get(bound.parameter, Any)
        self._check_hint(hint, value, bound)
        for called in types.references(value):
            # With parentheses, it is called wherever it is used.
            if called.evaluated or types.takes_nothing(hint):
                self._check_given(called, bound.line)

    def _check_hint(self, hint: Any, value: Any, bound: Bound) -> None:
        if not types.accepts(hint, value):
            expected = f"{bound.parameter!r} must be {types.describe(hint)}, not {value!r}."
            places = [line.where for line in self.origin(bound)]
            raise ConfigError("\n  ".join([expected, *places]))

    def _check_given(self, called: types.Reference, line: Line) -> None:
        """Checks that bindings give all required arguments to what is called without arguments."""
        given = [b.parameter for b in self.bindings.values() if b.target is called.target]
        for name in types.required(called.target):
            if name not in given:
                remedy = f"Give it with --gin.{called.name}.{name}=VALUE."
                fail(line, f"{called.name!r} needs {name!r}. {remedy}")


def _macros(value: Any) -> Iterator[str]:
    """Yields the names of the macros in a value, at any depth."""
    if isinstance(value, Macro):
        yield value.name
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _macros(item)


def whole_name(target: Any) -> str:
    """Returns the module and the name of a function or class."""
    return f"{target.__module__}.{target.__qualname__}"


def fail(line: Line, problem: str) -> NoReturn:
    """Raises a `ConfigError` about a line."""
    raise ConfigError(f"{problem}\n  {line.where}")


def no_parameter(selector: str, name: str, known: Iterable[str], line: Line) -> NoReturn:
    """Raises a `ConfigError` about a parameter that a function or class does not have."""
    remedy = did_you_mean(name, known) or f" It has: {', '.join(known)}."
    fail(line, f"{selector!r} has no parameter {name!r}.{remedy}")


def not_imported(name: str, known: Iterable[str], line: Line) -> NoReturn:
    """Raises a `ConfigError` because the first name of a selector is not imported.

    Args:
        name: The first name of the selector.
        known: The imported names.
        line: The line of the selector.
    """
    own = " Write `from mtk import {name}` in one of its files."
    is_own = name in names.children("mtk")
    hint = own.format(name=name) if is_own else did_you_mean(name, known)
    fail(line, f"{name!r} is not imported.{hint or ' Import its module first.'}")


def no_module(name: str, siblings: Iterable[str], line: Line) -> NoReturn:
    """Raises a `ConfigError` about a module that does not exist."""
    similar = did_you_mean(name.rpartition(".")[2], siblings)
    fail(line, f"There is no module {name!r}.{similar}")


def _siblings(name: str) -> list[str]:
    parent = name.rpartition(".")[0]
    path = importlib.import_module(parent).__path__ if parent else None
    return [module.name for module in pkgutil.iter_modules(path)]
