"""Checks values of a configuration against the declared types of parameters."""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, repr=False)
class Reference:
    """A reference of the configuration to a function or class.

    Attributes:
        name: The text after the `@`.
        target: The function or class.
        evaluated: Whether parentheses follow; then the parameter gets the result of the call.
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
    """Returns whether a value contains a reference."""
    return next(references(value), None) is not None


@functools.cache
def hints(target: Any) -> dict[str, Any]:
    """Returns the declared types of a callable's parameters; empty if they are unknown."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def groups(target: Any) -> dict[str, Any]:
    """Returns the parameters of a callable whose type is a dataclass, with that class."""
    found = hints(target).items()
    return {n: kind for n, kind in found if dataclasses.is_dataclass(kind) and n != "return"}


def takes_nothing(hint: Any) -> bool:
    """Returns whether a declared type is a callable without arguments, or several of them."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType, Sequence):
        return any(map(takes_nothing, args))
    return typing.get_origin(hint) is Callable and args[0] == []


def required(target: Any) -> list[str]:
    """Returns the parameters of a callable without a default; empty if they are unknown."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except ValueError:
        return []
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in several]


def canonical(hint: Any, value: Any) -> Any:
    """Returns a value in canonical form, equal for equivalent values.

    An integer becomes a float if a float is declared, and a list a tuple if any sequence is
    accepted. If a type is annotated by an object with a method `canonical`, this method is used.

    Args:
        hint: The declared type.
        value: A literal that it accepts, which may contain `Reference`s.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        own = [extra.canonical for extra in args[1:] if hasattr(extra, "canonical")]
        return own[0](value) if own else canonical(args[0], value)
    if origin in (typing.Union, types.UnionType):
        fitting = [arg for arg in args if accepts(arg, value)]
        return canonical(fitting[0], value) if fitting else value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not inspect.isclass(origin):
        return value
    if isinstance(value, dict) and issubclass(origin, Mapping):
        return {key: canonical(args[-1], item) for key, item in value.items()}
    if isinstance(value, list | tuple) and issubclass(origin, Sequence):
        each = args if origin is tuple and args[-1] is not ... else [args[0]] * len(value)
        return tuple(map(canonical, each, value))
    return value


def accepts(hint: Any, value: Any) -> bool:
    """Returns whether `value` fits `hint`; hints of unsupported forms accept anything.

    Args:
        hint: A type or a form of `typing`.
        value: A literal, which may contain `Reference`s.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is typing.Annotated:
        return accepts(args[0], value)
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
        if value.evaluated:
            # A class with parentheses is an instance, although a callable is required.
            return not inspect.isclass(value.target)
        return _makes(value.target, typing.get_args(hint)[-1])
    if hint in (None, type(None)):
        return False
    if not inspect.isclass(hint) or origin is not None:
        return value.evaluated or origin not in (Sequence, Mapping)
    return _makes(value.target, hint) if value.evaluated else hint in (type, object)


def _makes(target: Any, wanted: Any) -> bool:
    """Returns whether a call of `target` may return a `wanted`; True if this is unknown."""
    made = target if inspect.isclass(target) else hints(target).get("return")
    if not inspect.isclass(made) or not inspect.isclass(wanted) or typing.get_origin(wanted):
        return True
    if wanted is float and made is int:
        return True
    try:
        return issubclass(made, wanted)
    except TypeError:  # A protocol.
        return True


def _accepts_container(origin: Any, args: tuple[Any, ...], value: Any) -> bool:
    if origin is Callable:
        return False
    if issubclass(origin, Mapping):
        return isinstance(value, dict) and all(
            accepts(args[0], key) and accepts(args[-1], item) for key, item in value.items()
        )
    if not isinstance(value, list | tuple):
        return not issubclass(origin, Sequence)
    fixed = origin is tuple and args[-1] is not Ellipsis
    if fixed:
        return len(value) == len(args) and all(map(accepts, args, value))
    return all(accepts(args[0], item) for item in value)


def describe(hint: Any) -> str:
    """Returns a description of the type for an error message."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return describe(typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(arg) for arg in typing.get_args(hint))
    if origin is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if origin is Callable:
        made = typing.get_args(hint)[-1]
        what = f" that returns {describe(made)}" if made is not Any and made is not ... else ""
        return f"a reference, @name without parentheses, to a class or function{what}"
    if hint in (None, type(None)):
        return "None"
    if inspect.isclass(hint) and origin is None:
        return hint.__name__
    return str(hint).replace("collections.abc.", "")
