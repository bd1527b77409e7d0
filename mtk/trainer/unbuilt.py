"""Builds layers within layers, which Keras has not called before `fit`."""

from typing import Any

import keras
import tensorflow as tf
from absl import logging

from mtk.sharing.layer_calls import all_layers


class _Called(keras.Operation):
    """A call that Keras must run to know its outputs, as no `compute_output_shape` tells them."""

    def __init__(self, network: keras.Model):
        super().__init__()
        self.network = network

    def call(self, inputs: Any) -> Any:
        return self.network(inputs, training=False)


def symbolic(spec: tf.TypeSpec | None) -> keras.KerasTensor | None:
    """Returns a Keras tensor of a spec; None for None."""
    return spec and keras.KerasTensor(spec.shape, spec.dtype.name)


def build_inside(network: keras.Model, inputs: Any = None) -> None:
    """Builds layers within layers that tell their output's shape: Keras has not called those yet.

    What cannot run on such inputs is left as it is, which is logged.

    Args:
        network: A built network.
        inputs: What it reads, as Keras tensors; its own inputs by default.
    """
    if not all(layer.built for layer in all_layers(network)):
        try:
            _Called(network)(network.input if inputs is None else inputs)
        except Exception as error:
            logging.info("Layers inside %s are not built before they run: %s", network.name, error)
