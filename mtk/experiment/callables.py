"""Identity of functions and classes: by name, or by their code and the values it reads."""

import dis
import hashlib
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis))


def name_of(value: Any) -> str:
    """Returns the module and the name of a function or class."""
    return f"{getattr(value, '__module__', None) or 'builtins'}.{_own_name(value)}"


def _own_name(value: Any) -> str:
    return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", ""))


def is_named(value: Any) -> bool:
    """Whether the module of a function or class has this object under its name.

    Gin replaces a class by a subclass of it.
    """
    module = sys.modules.get(getattr(value, "__module__", None) or "builtins")
    if not callable(value) or not _own_name(value) or module is None:
        return False
    if module.__name__ == "__main__" and not hasattr(module, "__file__"):
        return False  # In an interactive session, a name can be redefined.
    try:
        found = operator.attrgetter(_own_name(value))(module)
    except AttributeError:
        return False
    return found is value or (isinstance(value, type) and found in value.__mro__[1:])


def closure(function: types.FunctionType) -> dict[str, Any]:
    """Returns the closure variables of a function, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # The variable is not assigned yet.
            found[name] = ...
    return found


def globals_read(function: types.FunctionType) -> dict[str, Any]:
    """Returns the globals that a function reads, if they are data.

    Other globals are objects that a module defines under a name.
    """
    found = {name: function.__globals__.get(name) for name in _names_read(function.__code__)}
    return {name: value for name, value in found.items() if value is not None and _is_data(value)}


def _names_read(code: types.CodeType) -> set[str]:
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return own.union(*map(_names_read, inner))


def defaults(function: types.FunctionType) -> dict[str, Any]:
    """Returns the defaults of a function's parameters, by their names."""
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    values = function.__defaults__ or ()
    given = dict(zip(names[len(names) - len(values) :], values, strict=True))
    return {**given, **(function.__kwdefaults__ or {})}


def code_bytes(code: types.CodeType) -> bytes:
    """Returns the code of a function as bytes, without its location in the source."""
    constants = [
        code_bytes(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return repr((code.co_code, constants, names, code.co_argcount, code.co_flags)).encode()


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _is_data(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_data, value))
    if isinstance(value, dict):
        return all(_is_data(part) for item in value.items() for part in item)
    return type(value) in PLAIN or isinstance(value, np.ndarray | np.generic)


def digest(content: bytes) -> str:
    """Returns a short hash."""
    return hashlib.sha256(content).hexdigest()[:16]


def called(name: str, factory: Callable[..., Any], **given: Any) -> Any:
    """Calls a factory that was given as an argument of a run, and returns the result.

    Args:
        name: Name of the argument.
        factory: The factory.
        **given: Its keyword arguments.

    Raises:
        ValueError: If it raises anything but an error about bad input, which is passed on.
    """
    try:
        return factory(**given)
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # The user's class may raise anything.
        raise ValueError(
            f"`{name}` cannot be created: {type(error).__name__}: {error}. Use --traceback for "
            "details."
        ) from error
