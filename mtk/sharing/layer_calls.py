"""Records the calls of a network's layers, with their outputs."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class LayerCall(NamedTuple):
    """One recorded call of a layer.

    Attributes:
        layer: The layer.
        number: Number of earlier calls.
        outputs: The tensors that it returned.
    """

    layer: keras.Layer
    number: int
    outputs: list[tf.Tensor]


# Listeners by layer. Replicas are threads that trace the same layers concurrently, so each context
# records only its own thread, and the last to exit restores the layer.
_listeners: dict[int, list[tuple[int, list[LayerCall]]]] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def recorded(layers: Sequence[keras.Layer]) -> Iterator[list[LayerCall]]:
    """Records every call of `layers` by this thread inside the context."""
    calls: list[LayerCall] = []
    mine = (threading.get_ident(), calls)
    with _lock:
        for layer in layers:
            _listeners.setdefault(id(layer), []).append(mine)
            if _called(layer) not in layer.__dict__:
                # Bypasses Keras' __setattr__, which would track the function.
                layer.__dict__[_called(layer)] = _recording(layer)
    try:
        yield calls
    finally:
        with _lock:
            for layer in layers:
                _listeners[id(layer)].remove(mine)
                if not _listeners[id(layer)]:
                    del layer.__dict__[_called(layer)], _listeners[id(layer)]


def _called(layer: keras.Layer) -> str:
    """Returns the name of the method that Keras calls, which differs for quantized layers."""
    return "call" if getattr(layer, "quantization_mode", None) is None else "quantized_call"


def _recording(layer: keras.Layer) -> Callable[..., Any]:
    original = getattr(layer, _called(layer))

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        outputs = original(*args, **kwargs)
        # Sparse and ragged outputs have several tensors, none of which heads read directly.
        made = [part for part in tf.nest.flatten(outputs) if isinstance(part, tf.Tensor)]
        for thread, calls in _listeners.get(id(layer), []):
            if thread == threading.get_ident():
                number = sum(earlier.layer is layer for earlier in calls)
                calls.append(LayerCall(layer, number, made))
        return outputs

    return call


def outside_graphs() -> AbstractContextManager:
    """Leaves the graphs being traced, so that variables can be read and written.

    `tf.init_scope` also pauses the tapes of layers that output gradients, so that it is not entered
    where there is no graph to leave.
    """
    return contextlib.nullcontext() if tf.executing_eagerly() else tf.init_scope()


def all_layers(network: keras.Model) -> list[keras.Layer]:
    """Returns every layer below `network`, however deeply nested."""
    return list(network._flatten_layers(include_self=False))
