"""Texts for values: equal for equal values in any process, and different otherwise."""

import copyreg
import enum
import functools
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.experiment.callables import (
    PLAIN,
    closure,
    code_bytes,
    defaults,
    digest,
    globals_read,
    is_named,
    name_of,
)

_LONGEST = 400  # Characters of a text that are kept; the rest is hashed.
# Attributes that Python and abstract classes add to the body of a class.
NOT_ITS_BODY = {"__dict__", "__weakref__", "__module__", "__qualname__", "__doc__", "_abc_impl"}
NOT_ITS_BODY |= {"__firstlineno__", "__static_attributes__", "__abstractmethods__"}
NOT_ITS_BODY |= {"__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__"}


class UnidentifiedError(ValueError):
    """A value that cannot be told apart from others."""


def identified(value: Any) -> str:
    """Returns a text that identifies a value in any process.

    Objects that a module defines under a name are identified by module and name: their code belongs
    to the version. Functions and classes made inside a function, lambdas, and those of an
    interactive session are identified by their code, defaults, closures, and plain values of the
    globals that they read. Partials, methods and instances are identified by their parts.

    Args:
        value: Any object.

    Raises:
        UnidentifiedError: If it contains an object that cannot be identified, such as an open file.
    """
    return _shortened(_Reader().text(value))


class _Reader:
    """Reads one value; keeps track of its containers, since values may contain themselves."""

    def __init__(self) -> None:
        self._inside: list[Any] = []

    def text(self, value: Any) -> str:
        for depth, outer in enumerate(self._inside):
            if outer is value:
                return f"<{depth}>"
        if isinstance(value, PLAIN) and type(value) in PLAIN:
            return repr(value)
        self._inside.append(value)
        try:
            return self._text(value)
        except RecursionError as error:
            raise UnidentifiedError("it is nested too deeply") from error
        finally:
            self._inside.pop()

    def _text(self, value: Any) -> str:
        if isinstance(value, functools.partial):
            given = [*map(self.text, value.args), *self._named(sorted(value.keywords.items()))]
            return f"{self.text(value.func)}({', '.join(given)})"
        if isinstance(value, types.ModuleType):
            return f"module {value.__name__}"
        if isinstance(value, types.MethodType):
            return f"{self.text(value.__self__)}.{value.__func__.__qualname__}" + self._local(value)
        if is_named(value):
            return name_of(value)
        if isinstance(value, types.FunctionType | type):
            return self._class(value) if isinstance(value, type) else self._function(value)
        if type(value) in _CONTAINERS:
            return _CONTAINERS[type(value)](self, value)
        if isinstance(value, enum.Enum):
            return f"{self.text(type(value))}.{value.name}"
        if isinstance(value, PurePath):
            return f"{type(value).__name__}({str(value)!r})"
        return self._instance(value)

    def _local(self, method: types.MethodType) -> str:
        """Returns what distinguishes a method from that of its class, if it is another one."""
        function: Any = method.__func__
        of_class = inspect.getattr_static(
            method.__self__ if isinstance(method.__self__, type) else type(method.__self__),
            function.__name__,
            None,
        )
        own = getattr(of_class, "__func__", of_class) is function
        return "" if own else f"={self.text(function)}"

    def _named(self, items: Iterable[tuple[str, Any]]) -> list[str]:
        return [f"{name}={self._held(name, value)}" for name, value in items]

    def _held(self, name: str, value: Any) -> str:
        try:
            return self.text(value)
        except UnidentifiedError as error:
            raise UnidentifiedError(f"{name!r} in it: {error}") from error

    def _class(self, value: type) -> str:
        body = {name: part for name, part in vars(value).items() if name not in NOT_ITS_BODY}
        bases = [self.text(base) for base in value.__bases__]
        return f"{name_of(value)}({', '.join([*bases, *self._named(sorted(body.items()))])})"

    def _function(self, value: types.FunctionType) -> str:
        held = {**globals_read(value), **closure(value), **defaults(value)}
        held |= {f".{name}": part for name, part in vars(value).items() if name != "__wrapped__"}
        given = ", ".join(self._named(sorted(held.items())))
        return f"{name_of(value)}[code {digest(code_bytes(value.__code__))}]({given})"

    def _instance(self, value: Any) -> str:
        kind = self.text(type(value))
        if isinstance(value, np.ndarray | np.generic):
            return f"{kind}{_array(self, np.asarray(value))}"
        if tf.is_tensor(value) or isinstance(value, tf.Variable | keras.Variable):
            return f"{kind}{_array(self, _numpy(value))}"
        if isinstance(value, _KERAS):
            return f"{kind}({self._keras(value)})"
        if isinstance(value, tf.distribute.Strategy):
            return f"{kind}{value.extended.worker_devices}"
        # Keras pickles saveable objects as an archive that contains the date.
        parts = dict(vars(value)) if hasattr(value, "_unpickle_model") else _reduced(value)
        return f"{kind}({', '.join(self._named(parts.items()))})"

    def _keras(self, value: Any) -> str:
        variables = [_array(self, _numpy(variable)) for variable in value.variables]
        return ", ".join([self.text(_config(value)), *variables])

    def _items(self, value: Mapping[Any, Any]) -> str:
        return f"{{{', '.join(f'{self.text(k)}: {self._held(k, v)}' for k, v in value.items())}}}"

    def _list(self, value: list[Any]) -> str:
        return f"[{', '.join(map(self.text, value))}]"

    def _tuple(self, value: tuple[Any, ...]) -> str:
        return f"({', '.join(map(self.text, value))}{',' * (len(value) == 1)})"

    def _set(self, value: Iterable[Any]) -> str:
        return f"{type(value).__name__}({', '.join(sorted(map(self.text, value)))})"


_KERAS = (keras.Layer, keras.optimizers.Optimizer, keras.metrics.Metric)
_CONTAINERS: dict[type, Callable[[_Reader, Any], str]] = {
    dict: _Reader._items,
    types.MappingProxyType: _Reader._items,
    list: _Reader._list,
    tuple: _Reader._tuple,
    set: _Reader._set,
    frozenset: _Reader._set,
    staticmethod: lambda reader, value: f"static {reader.text(value.__func__)}",
    classmethod: lambda reader, value: f"class {reader.text(value.__func__)}",
    property: lambda reader, value: f"property{reader._tuple((value.fget, value.fset))}",
    types.CodeType: lambda _, value: f"code {digest(code_bytes(value))}",
    types.GetSetDescriptorType: lambda _, value: value.__name__,
    types.MemberDescriptorType: lambda _, value: value.__name__,
    types.CellType: lambda reader, value: reader.text(value.cell_contents),
}


def _array(reader: _Reader, array: np.ndarray) -> str:
    about = f"{array.dtype.str}{array.shape}"
    if array.dtype.hasobject:
        return f"({about}, {reader.text(array.tolist())})"
    if array.size == 1 and array.dtype.kind in "biuf":
        return f"({about}, {array.item()!r})"
    return f"({about}, sha256 {digest(np.ascontiguousarray(array).tobytes())})"


def _numpy(value: Any) -> np.ndarray:
    try:
        return np.asarray(keras.ops.convert_to_numpy(value))
    except Exception as error:  # TensorFlow raises different errors for a tensor without a value.
        raise _unidentified(value) from error


def _config(value: Any) -> Any:
    try:
        return _without_counts(keras.saving.serialize_keras_object(value))
    except (NotImplementedError, TypeError, ValueError) as error:
        raise _unidentified(value) from error


def _without_counts(config: Any) -> Any:
    """Removes the numbers that Keras appends to automatic names, as in "sgd_3"."""
    if isinstance(config, dict):
        return {
            key: re.sub(r"_\d+$", "", part)
            if key == "name" and isinstance(part, str)
            else _without_counts(part)
            for key, part in config.items()
        }
    return [_without_counts(part) for part in config] if isinstance(config, list) else config


def _reduced(value: Any) -> dict[str, Any]:
    """Returns the parts of an instance, as defined for `copy` and `pickle`."""
    try:
        made = value.__reduce_ex__(2)
    except Exception as error:  # A class that cannot be copied may raise anything.
        raise _unidentified(value) from error
    if isinstance(made, str):  # A global name, which need not be that of the value.
        if not hasattr(value, "__wrapped__"):
            raise _unidentified(value)
        return {"of": value.__wrapped__}
    function, arguments, state, items, pairs = (*made, None, None, None)[:5]
    parts = {}
    if function is copyreg.__newobj__:  # type: ignore[attr-defined]
        arguments = arguments[1:]
    else:
        parts["by"] = function
    if arguments:
        parts["of"] = arguments
    if isinstance(state, dict) and all(isinstance(name, str) for name in state):
        parts |= state
    elif state is not None:
        parts["state"] = state
    parts |= {} if items is None else {"items": list(items)}
    return parts | ({} if pairs is None else {"pairs": list(pairs)})


def _unidentified(value: Any) -> UnidentifiedError:
    kind = type(value)
    return UnidentifiedError(
        f"two objects of {kind.__module__}.{kind.__qualname__} cannot be distinguished"
    )


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... sha256 {digest(text.encode())}"
