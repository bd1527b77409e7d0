"""Hashes of a user's functions, so that an edited function makes another comparison."""

import functools
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import mtk
from mtk.experiment.callables import PLAIN, closure, code_bytes, defaults, digest, name_of
from mtk.experiment.contents import NOT_ITS_BODY

_HOLDERS = (staticmethod, classmethod, types.MethodType)


def is_installed(file: str) -> bool:
    """Whether a module belongs to a package or to Python, and so is identified by its version."""
    roots = {sys.prefix, sys.base_prefix, str(Path(mtk.__file__).parent)}
    return "site-packages" in file or any(Path(root) in Path(file).parents for root in roots)


def own_code(value: Any) -> str:
    """Returns a hash that changes with the code of a function or class and with what it reads.

    The functions, classes and plain values to which it refers are followed across modules, except
    for installed ones.

    Args:
        value: A function, a class, or an object that holds some, such as a method or a partial.
    """
    return digest("\n".join(_texts(value, frozenset(), {})).encode())


def _texts(value: Any, read: frozenset[str], seen: dict[Any, Any]) -> Iterator[str]:
    """Yields strings that describe a value and the values it holds.

    Args:
        value: The value.
        read: Names of the attributes that code reads, if this is a module or an object.
        seen: Values already followed, except plain ones, by `id` and these names.
    """
    if type(value) in PLAIN:
        yield repr(value)
    elif isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype}{value.shape} {digest(np.ascontiguousarray(value).tobytes())}"
    elif (id(value), read) not in seen:
        seen[id(value), read] = value  # Keeps its `id` from being reused.
        yield _own_text(value)
        held, names = _held(value, read)
        for name, each in held:
            yield f"{name}:"
            yield from _texts(each, names, seen)


def _own_text(value: Any) -> str:
    if isinstance(value, types.FunctionType) and _is_own(value.__module__):
        return f"{name_of(value)} {digest(code_bytes(value.__code__))}"
    return name_of(value) if isinstance(value, type | types.FunctionType) else type(value).__name__


def _held(value: Any, read: frozenset[str]) -> tuple[Iterable[tuple[Any, Any]], frozenset[str]]:
    """Returns the values that a value holds or reads, by name, and the attributes read of them."""
    if isinstance(value, types.FunctionType):
        return _held_by_function(value)
    if isinstance(value, type):
        own = vars(value).items() if _is_own(value.__module__) else ()
        body = sorted((name, part) for name, part in own if name not in NOT_ITS_BODY)
        return [*body, *((each.__name__, each) for each in value.__bases__)], frozenset()
    if isinstance(value, functools.partial):
        return [("", value.func), ("", value.args), *value.keywords.items()], frozenset()
    if isinstance(value, property):
        return [("", value.fget)], frozenset()
    if isinstance(value, _HOLDERS):
        function, owner = value.__func__, getattr(value, "__self__", None)
        return [("", function), ("", owner)], _names(getattr(function, "__code__", None))
    if isinstance(value, list | tuple):
        return enumerate(value), read
    if isinstance(value, set | frozenset):
        return (("", each) for each in sorted(value, key=repr)), read
    if isinstance(value, Mapping):
        return ((repr(name), part) for name, part in value.items()), read
    if isinstance(value, types.ModuleType) and not _is_own(value.__name__):
        return [], read
    parts = getattr(value, "__dict__", {})
    kind = [] if isinstance(value, types.ModuleType) else [("", type(value))]
    return [*kind, *((name, parts[name]) for name in sorted(read) if name in parts)], read


def _held_by_function(
    function: types.FunctionType,
) -> tuple[Iterable[tuple[Any, Any]], frozenset[str]]:
    wrapped = [("", function.__wrapped__)] if hasattr(function, "__wrapped__") else []
    if not _is_own(function.__module__):
        return wrapped, frozenset()
    names, known = _names(function.__code__), function.__globals__
    read = [(name, known[name]) for name in sorted(names) if name in known]
    return [*read, *closure(function).items(), *defaults(function).items(), *wrapped], names


def _names(code: types.CodeType | None) -> frozenset[str]:
    """Returns the names of globals and attributes that code reads."""
    if code is None:
        return frozenset()
    inner = [part for part in code.co_consts if isinstance(part, types.CodeType)]
    return frozenset(code.co_names).union(*map(_names, inner))


def _is_own(module: str | None) -> bool:
    """Whether a module is the user's own: neither installed nor part of Python or this library."""
    first = (module or "builtins").partition(".")[0]
    if first in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return file is None or not is_installed(file)
