"""Logs how much each task uses each expert."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.models.sharing.gates import collected

# By layer and task, `(B, E)` or `(E,)`.
Gates = dict[tuple[str, str], Any]


class ExpertUtilization(keras.callbacks.Callback):
    """Adds the mean gate of each task and expert to the logs, at the end of each epoch.

    The names are `<task>_gate_<expert>`, and `<task>_<layer>_gate_<expert>` where the network has
    several layers with gates. History, `TaskBoard` (tags `gate_<expert>/<task>`) and later
    callbacks in the list receive them. Unused experts have gates near zero.

    Args:
        x: Inputs of the network for the measurement, such as some hundred of the validation split:
            an array, or a dict or list of arrays.
        batch_size: Number of examples per pass.

    Raises:
        ValueError: If `x` has no examples or, when training begins, if the network has no gates.
    """

    def __init__(self, x: Any, batch_size: int = 256):
        super().__init__()
        self.x = tf.nest.map_structure(np.asarray, x)
        self.batch_size = batch_size
        arrays = tf.nest.flatten(self.x)
        self._size = len(arrays[0]) if arrays else 0
        if self._size < 1 or batch_size < 1:
            raise ValueError(
                "`x` must have one or more examples, and `batch_size` must be 1 or more."
            )

    def on_train_begin(self, logs: Any = None) -> None:
        del logs
        self._read = gate_reader(getattr(self.model, "network", self.model))
        self._read(self._part(0, 1))  # A network without gates fails before it is trained.

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        del epoch
        if logs is not None:
            logs.update(self.values())

    def values(self) -> Mapping[str, float]:
        """Returns the mean gate values by their names in the logs."""
        starts = range(0, self._size, self.batch_size)
        return mean_gates(self._read, (self._part(i, i + self.batch_size) for i in starts))

    def _part(self, start: int, end: int) -> Any:
        return tf.nest.map_structure(lambda array: array[start:end], self.x)


def mean_gates(read: Callable[[Any], Gates], batches: Iterable[Any]) -> Mapping[str, float]:
    """Returns the mean gate value of each task and expert over all examples, by name in the logs.

    Args:
        read: Return value of `gate_reader`.
        batches: Inputs of the network.
    """
    sums: Gates = {}
    number = 0
    for batch in batches:
        found = read(batch)
        number += len(next(iter(found.values())))
        for key, gates in found.items():
            sums[key] = sums.get(key, 0.0) + np.sum(gates, axis=0, dtype=float)
    layers = {layer for layer, _ in sums}
    return {
        f"{task}_{layer + '_' if len(layers) > 1 else ''}gate_{expert}": total / number
        for (layer, task), totals in sums.items()
        for expert, total in enumerate(totals.tolist())
    }


def gate_reader(network: keras.Model) -> Callable[[Any], Gates]:
    """Returns a function from inputs of a network to the gates `(B, E)` by layer and task.

    The function raises a ValueError if no layer of the network has gates.
    """
    keys: list[tuple[str, str]] = []

    @tf.function(reduce_retracing=True)
    def read(x: Any) -> list[tf.Tensor]:
        with collected() as found:
            network(x, training=False)
        keys[:] = [(layer, task) for layer, task, _ in found]
        return [gate for _, _, gate in found]

    def of(x: Any) -> Gates:
        gates = read(tf.nest.map_structure(_as_tensor, x))
        if not gates:
            raise ValueError(f"The network '{network.name}' has no layer with gates.")
        return dict(zip(keys, (gate.numpy() for gate in gates), strict=True))

    return of


def _as_tensor(part: Any) -> Any:
    return part if tf.is_tensor(part) else tf.convert_to_tensor(part)
