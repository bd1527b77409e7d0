"""Gate values of each task and expert in TensorBoard."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from mtk.callbacks.base import StepCallback
from mtk.callbacks.task_board import TaskBoard
from mtk.models.sharing import CGC, MMoE
from mtk.models.sharing.utilization import gate_reader, mean_gates
from mtk.sharing.layer_calls import all_layers


class Gates(StepCallback):
    """Writes the mean gate of each task and expert at every evaluation, if a network has gates.

    The tags are `gate_<expert>/<task>` of the run `validation`, and `<layer>_gate_<expert>/<task>`
    if several layers have gates. `mtk.models.sharing.ExpertUtilization` adds the same values to the
    logs of your own `fit`.

    Args:
        board: The board to write to.
        inputs: Returns the batches of network inputs over which gates are averaged.
    """

    def __init__(self, board: TaskBoard, inputs: Callable[[], Iterable[Any]]):
        super().__init__()
        self.board, self.inputs = board, inputs

    def begin(self) -> None:
        network = getattr(self.model, "network", self.model)
        self._read = gate_reader(network) if has_gates(network) else None

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        del logs
        if self._read is not None:
            found = mean_gates(self._read, self.inputs())
            self.board.write("validation", found, self.step)

    def end(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Flushes everything written to disk."""
        self.board.flush()


def has_gates(network: keras.Model) -> bool:
    """Whether a layer of a network mixes experts."""
    return any(isinstance(layer, (MMoE, CGC)) for layer in all_layers(network))
