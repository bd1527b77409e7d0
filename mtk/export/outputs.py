"""A network with fewer outputs, such as one without its auxiliary tasks."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from mtk.compiled_tasks import symbolic_outputs


def with_outputs(network: keras.Model, tasks: Sequence[str]) -> keras.Model:
    """Returns a network with some of the outputs, and only the layers that these need.

    It shares its layers with the other one. Of a network that is neither functional nor sequential
    all layers stay.

    Args:
        network: A network whose output is a dict by task.
        tasks: The outputs to keep.

    Raises:
        ValueError: If one is unknown, or the output is no dict.
    """
    outputs = symbolic_outputs(network)
    if outputs is None:
        return OutputSubset(network, tasks)
    kept = _selected(outputs, tasks)
    return keras.Model(network.input, kept, name=network.name)


class OutputSubset(keras.Model):
    """Some of the outputs of a network.

    Args:
        network: The network, whose output is a dict by task.
        tasks: The outputs to keep.
        name: Name of the model.
    """

    def __init__(self, network: keras.Model, tasks: Sequence[str], name: str | None = None):
        super().__init__(name=name)
        self.network, self.tasks = network, tuple(tasks)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        return _selected(self.network(inputs, training=training), self.tasks)


def _selected(outputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
    if not isinstance(outputs, Mapping):
        raise ValueError("The network's output is no dict by task, so that none can be left out.")
    unknown = [task for task in tasks if task not in outputs]
    if unknown or not tasks:
        close = difflib.get_close_matches(unknown[0], outputs, n=1) if unknown else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"`tasks` are some of the network's outputs, {list(outputs)}.{hint} Received: {tasks!r}"
        )
    return {task: outputs[task] for task in tasks}
