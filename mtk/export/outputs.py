"""Networks with a subset of their outputs, such as without auxiliary tasks."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtk.compiled_tasks import output_names, symbolic_outputs


def with_outputs(network: keras.Model, tasks: Sequence[str]) -> keras.Model:
    """Returns a network with some of the outputs, and only the layers that they need.

    It shares its layers with the given network. If that network is neither functional nor
    sequential, all layers are kept.

    Args:
        network: A network whose output is a dict by task, or a list.
        tasks: The outputs to keep; if the output is a list, by Keras' names.

    Raises:
        ValueError: If an output is unknown, or the network has a single output without a name.
    """
    outputs = symbolic_outputs(network)
    if outputs is None:
        return OutputSubset(network, tasks)
    kept = _selected(by_name(network, outputs), tasks)
    return keras.Model(network.input, kept, name=network.name)


class OutputSubset(keras.Model):
    """A network with a subset of the outputs of another one.

    Args:
        network: The network, whose output is a dict by task.
        tasks: The outputs to keep.
        name: Name of the model.
    """

    def __init__(self, network: keras.Model, tasks: Sequence[str], name: str | None = None):
        super().__init__(name=name)
        self.network, self.tasks = network, tuple(tasks)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        outputs = self.network(inputs, training=training)
        return _selected(by_name(self.network, outputs), self.tasks)


def by_name(network: keras.Model, outputs: Any, names: Sequence[str] | None = None) -> Any:
    """Returns a list of outputs as a dict, and any other form unchanged.

    Args:
        network: The network.
        outputs: Its outputs.
        names: Names of the outputs in the list; by default those of Keras.
    """
    if not isinstance(outputs, (list, tuple)):
        return outputs
    return dict(zip(names or output_names(network, outputs), outputs, strict=True))


def _selected(outputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
    if not isinstance(outputs, Mapping):
        raise ValueError("The network's output is not a dict by task, so no task can be left out.")
    unknown = [task for task in tasks if task not in outputs]
    if unknown or not tasks:
        close = difflib.get_close_matches(unknown[0], outputs, n=1) if unknown else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`tasks` must be a subset of the network's outputs, {list(outputs)}.{hint} "
            f"Received: {tasks!r}"
        )
    return {task: outputs[task] for task in tasks}
