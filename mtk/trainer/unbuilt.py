"""Builds networks, and nested layers that Keras has not called before `fit`."""

import contextlib
from typing import Any

import keras
import tensorflow as tf
from absl import logging

from mtk.sharing.layer_calls import all_layers
from mtk.trainer import batch


class _Called(keras.Operation):
    """A call that Keras must trace, since no `compute_output_shape` defines its outputs."""

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network = network

    def call(self, inputs: Any) -> Any:
        return self.network(inputs, training=False)


def symbolic_inputs(spec: Any) -> Any:
    """Returns the network's inputs in the spec of a batch as Keras tensors; None for None."""

    def symbolic(part: tf.TypeSpec | None) -> keras.KerasTensor | None:
        return part and keras.KerasTensor(part.shape, part.dtype.name)

    return tf.nest.map_structure(symbolic, batch.inputs_of(spec))


def without_history(output: Any) -> Any:
    """Returns a symbolic output without its history, in which the network is the only layer."""
    return keras.KerasTensor(output.shape, output.dtype) if hasattr(output, "shape") else output


def build(network: keras.Model, inputs: Any) -> Any:
    """Builds a network by a call, and returns its outputs, some of which may be None.

    Args:
        network: The network.
        inputs: Its inputs, as Keras tensors or as examples.
    """
    try:
        return network(inputs)
    except ValueError:
        if network.built:
            # Keras cannot record a call whose outputs are not all tensors.
            with contextlib.suppress(Exception):
                return network.compute_output_spec(inputs)
        raise


def build_inside(network: keras.Model, inputs: Any = None) -> None:
    """Builds layers nested in layers with `compute_output_shape`, which Keras has not called.

    Layers that cannot run on such inputs stay unbuilt, which is logged.

    Args:
        network: A built network.
        inputs: Its inputs as Keras tensors; its own symbolic inputs by default.
    """
    if not all(layer.built for layer in all_layers(network)):
        try:
            _Called(network)(network.input if inputs is None else inputs)
        except Exception as error:
            logging.info(
                "Layers inside %s are not built before their first call: %s", network.name, error
            )
