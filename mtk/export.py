"""Writes a network as a SavedModel that needs neither Keras nor this package."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf


def export(network: keras.Model, path: str | Path, inputs: Any = None) -> None:
    """Writes `network` to the folder `path`.

    The SavedModel has one signature, `serving_default`: from the named inputs, with any batch
    size, to `{task: output}`. `tf.saved_model.load(path).signatures["serving_default"]` reads it,
    and so does TensorFlow Serving.

    Args:
        network: A network whose output is a dict by task, or one tensor, then called "output".
        path: Folder to write.
        inputs: What the network is called with, as a `tf.TensorSpec` or a dict of them by name.
            Read only where the network is neither functional nor sequential: those know it.

    Raises:
        ValueError: If the network does not know its inputs and none are given.
    """
    inputs = _inputs(network, inputs)
    flat = tf.nest.flatten(inputs)
    names = [spec.name or f"input_{index}" for index, spec in enumerate(flat)]
    if isinstance(inputs, dict):
        names = sorted(inputs)  # The order of `flatten`.
    specs = {
        name: tf.TensorSpec((None, *spec.shape[1:]), spec.dtype, name)
        for name, spec in zip(names, flat, strict=True)
    }

    def serve(named: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        packed = tf.nest.pack_sequence_as(inputs, [named[name] for name in names])
        outputs = network(packed, training=False)
        return outputs if isinstance(outputs, dict) else {"output": outputs}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serving_default", serve, input_signature=[specs])
    archive.write_out(str(path), verbose=False)


def _inputs(network: keras.Model, given: Any) -> Any:
    if isinstance(network, keras.Sequential) and network.built:
        return network.inputs[0]
    try:
        return network.input
    except (AttributeError, ValueError) as error:
        if given is not None:
            return given
        raise ValueError(
            f"The network {network.name!r} is neither functional nor sequential, so its inputs are "
            "not known. Give `inputs`, such as a dataset's `element_spec[0]`."
        ) from error
