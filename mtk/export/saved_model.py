"""Writes a network as a SavedModel that needs neither Keras nor this package."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from mtk import atomic, places
from mtk.export.inputs import Inputs, inputs_of, write_order
from mtk.export.module import written_by_tensorflow
from mtk.export.outputs import by_name, with_outputs


def export(
    network: keras.Model,
    path: str | Path,
    inputs: Any = None,
    tasks: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """Writes `network` to the folder `path` atomically.

    The SavedModel has the signature `serving_default`, which maps the named inputs, with any batch
    size, to `{task: output}`. Use it with `tf.saved_model.load(path).signatures["serving_default"]`
    or TensorFlow Serving. Outputs of less than 32 bits are widened to float32.

    If layers mask parts of an output, such as padding, the signature `masks` returns `{task:
    mask}`; the loss ignores masked parts.

    Args:
        network: A network whose output is a dict by task, a list, or one tensor, then called
            "output".
        path: Output folder: new, empty, or one that this function has written, which is replaced.
            If it is a symbolic link to a folder, the link stays and the folder is replaced.
        inputs: The inputs of the network, as a `tf.TensorSpec` or a dict of them by name. Used only
            if the network is neither functional nor sequential.
        tasks: The outputs to keep, such as all but those of auxiliary tasks; all by default.
        names: Names for outputs that are a list; by default those that Keras has for them.

    Raises:
        ValueError: If a task is unknown, the network does not know its inputs and none are given,
            two inputs have one name, or something else is in the folder; then nothing is changed.
        OSError: If it cannot be written.
    """
    target = places.check_folder(path)
    network = network if tasks is None else with_outputs(network, tasks)
    known = inputs_of(network, inputs)
    archive = keras.export.ExportArchive()
    archive.track(network)
    served = _Served(network, known, names)
    endpoint = archive.add_endpoint("serving_default", served.serve, [known.specs])
    endpoint.get_concrete_function()  # Traced now, to find out whether there are masks.
    if served.masked:
        archive.add_endpoint("masks", served.masks, [known.specs])
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(target) as unfinished, written_by_tensorflow():
        archive.write_out(str(unfinished), verbose=False)
        write_order(unfinished, known.names)


class _Served:
    """The functions behind the signatures.

    Args:
        network: The network.
        inputs: Its inputs.
        names: Names of outputs that are a list.
    """

    def __init__(self, network: keras.Model, inputs: Inputs, names: Sequence[str] | None = None):
        self.names = names
        self.network = network
        self.inputs = inputs
        self.masked = False

    def serve(self, named: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        outputs = self._outputs(named)
        self.masked = any(_mask(value) is not None for value in outputs.values())
        return {name: _widened(value) for name, value in outputs.items()}

    def masks(self, named: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        masks = {name: _mask(value) for name, value in self._outputs(named).items()}
        return {name: mask for name, mask in masks.items() if mask is not None}

    def _outputs(self, named: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        given = self.network(self.inputs.packed(named), training=False)
        outputs = by_name(self.network, given, self.names)
        return outputs if isinstance(outputs, dict) else {"output": outputs}


def _mask(output: tf.Tensor) -> tf.Tensor | None:
    return getattr(output, "_keras_mask", None)


def _widened(output: tf.Tensor) -> tf.Tensor:
    return tf.cast(output, tf.float32) if output.dtype in (tf.bfloat16, tf.float16) else output
