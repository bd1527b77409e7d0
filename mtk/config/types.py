"""Whether a value of a configuration fits the type that a parameter declares."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, repr=False)
class Reference:
    """A reference of the configuration to a function or class.

    Attributes:
        name: What is written after the `@`.
        target: The function or class.
        evaluated: Whether parentheses follow: then the parameter gets what the call returns.
    """

    name: str
    target: Any
    evaluated: bool

    def __repr__(self) -> str:
        return f"@{self.name}{'()' * self.evaluated}"


def referred(value: Any) -> Iterator[Any]:
    """Yields the functions and classes that a value refers to, at any depth."""
    for reference in references(value):
        yield reference.target


def references(value: Any) -> Iterator[Reference]:
    """Yields the references in a value, at any depth."""
    if isinstance(value, Reference):
        yield value
    elif isinstance(value, Mapping):
        yield from references(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def refers(value: Any) -> bool:
    """Tells whether a value has a reference in it."""
    return next(references(value), None) is not None


def hints(target: Any) -> dict[str, Any]:
    """Returns the declared types of a callable's parameters; empty where they cannot be known."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):
        return {}


def accepts(hint: Any, value: Any) -> bool:
    """Tells whether `value` fits `hint`; hints that say more than this knows accept anything.

    Args:
        hint: A type or a form of `typing`.
        value: A literal, possibly holding `Reference`s.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(accepts(arg, value) for arg in args)
    if isinstance(value, Reference):
        return _accepts_reference(hint, origin, value)
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is not None and inspect.isclass(origin):
        return _accepts_container(origin, args, value)
    return not inspect.isclass(hint) or isinstance(value, hint)


def _accepts_reference(hint: Any, origin: Any, value: Reference) -> bool:
    if origin is Callable:
        # A class with parentheses is an instance where something to call is wanted.
        return not (value.evaluated and inspect.isclass(value.target))
    return value.evaluated or hint not in (int, float, bool, str, None, type(None))


def _accepts_container(origin: Any, args: tuple[Any, ...], value: Any) -> bool:
    if origin is Callable:
        return False
    if issubclass(origin, Mapping):
        return isinstance(value, dict) and all(accepts(args[-1], v) for v in value.values())
    if not isinstance(value, list | tuple):
        return not issubclass(origin, Sequence)
    fixed = origin is tuple and args[-1] is not Ellipsis
    if fixed:
        return len(value) == len(args) and all(map(accepts, args, value))
    return all(accepts(args[0], item) for item in value)


def describe(hint: Any) -> str:
    """Returns the type in words for an error message."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(arg) for arg in typing.get_args(hint))
    if origin is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if origin is Callable:
        return "a reference to a class or function, @name without parentheses"
    if hint in (None, type(None)):
        return "None"
    return hint.__name__ if inspect.isclass(hint) and origin is None else str(hint)
