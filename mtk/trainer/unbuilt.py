"""Builds nested layers that Keras has not called before `fit`."""

from typing import Any

import keras
import tensorflow as tf
from absl import logging

from mtk.sharing.layer_calls import all_layers


class _Called(keras.Operation):
    """A call that Keras must trace, since no `compute_output_shape` defines its outputs."""

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network = network

    def call(self, inputs: Any) -> Any:
        return self.network(inputs, training=False)


def symbolic(spec: tf.TypeSpec | None) -> keras.KerasTensor | None:
    """Returns a Keras tensor of a spec; None for None."""
    return spec and keras.KerasTensor(spec.shape, spec.dtype.name)


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
