"""Keeps the best weights on validation, and stops early without improvement."""

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from mtk import atomic, places
from mtk.callbacks.base import StepCallback
from mtk.callbacks.monitored import monitor_of, of_trained
from mtk.monitor import MEAN_LOSS, Monitor, as_number
from mtk.ranges import check_count


class BestCheckpoint(StepCallback):
    """Keeps the weights of the best evaluation on validation.

    Weights that were updated by an infinite or NaN gradient are never kept: a network can hide NaN,
    and its validation loss is then meaningless. Weights that cannot be written, for example because
    the disk is full, are kept in memory until `flush`, or until there are better ones.

    Args:
        path: File for the weights, ending in `.weights.h5`; an existing file is replaced.
        patience: Evaluations without improvement after which `fit` stops; None never stops it
            early.
        monitor: The value to compare; see `mtk.monitor.resolve`. By default the mean of the
            validation losses, or, if they are of different kinds, of the losses relative to those
            of the first evaluation. Tasks with a static weight of zero are untrained and ignored.
        restore: Whether to load the selected weights into the model at the end of `fit`.

    Attributes:
        selected_step: The step of the best evaluation, or None.
        selected_logs: The logs of that evaluation.
        best: The value of `monitor` at that evaluation, over the trained tasks; None before it.
        first: The values of `monitor.first` at the first evaluation that has them.
        worse_in_a_row: Number of evaluations since the best one.

    To keep the best weights for each single task, use one callback per task, such as
    `BestCheckpoint(f"{name}.weights.h5", monitor=f"{name}_loss", restore=False)`.

    Raises:
        ValueError: If the path has another ending or is a folder, `patience` is not positive, the
            model does not measure the monitored metric, or its direction is unknown.
        OSError: At the end of `fit`, if the weights cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        patience: int | None = None,
        monitor: Any = None,
        restore: bool = True,
    ):
        super().__init__()
        self.path = Path(path)
        if not self.path.name.endswith(".weights.h5"):
            raise ValueError(
                f"The path of the selected weights must end in .weights.h5. Received: {path}"
            )
        if patience is not None:
            check_count(patience=patience)
        self.patience = patience
        self.monitor = monitor
        self.restore_at_end = restore
        self.selected_step: int | None = None
        self.selected_logs: dict[str, float] = {}
        self.best: float | None = None
        self.first: dict[str, float] | None = None
        self.worse_in_a_row = 0
        self._unsaved: bytes | None = None

    @property
    def network(self) -> keras.Model:
        return getattr(self.model, "network", self.model)

    @property
    def compared(self) -> Monitor:
        """The resolved monitor, with its name and direction; requires a model.

        Raises:
            ValueError: If the model does not measure it.
        """
        return monitor_of(self.monitor, self.model, self.selected_logs)

    @property
    def record(self) -> dict[str, Any]:
        """The selection criterion and value, in the form that `mtk.monitor.selected` reads."""
        return self.record_of(self.selected_logs)

    def record_of(self, logs: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the selection criterion and the value of an evaluation; see `record`.

        Args:
            logs: Logs of the evaluation, or {}.
        """
        compared = self.compared
        # Over all tasks, so that runs that train different tasks can be compared.
        value = compared.value(logs, self.first) if logs else math.nan
        found: dict[str, Any] = {
            "name": compared.name,
            "direction": compared.direction,
            "value": _known(value),
        }
        if logs:
            terms = compared.signed(logs).items()
            found["terms"] = {name: _known(term) for name, term in terms}
            if compared.relative and self.first is not None:
                found["first"] = self.first
        return found

    def begin(self) -> None:
        places.check_file(self.path).parent.mkdir(parents=True, exist_ok=True)
        if self.task_names:  # Metrics of other models may be unknown before they run.
            _ = self.compared

    def get_state(self) -> dict[str, Any]:
        names = ("selected_step", "selected_logs", "best", "worse_in_a_row", "first")
        # States of earlier versions, which only supported the mean, have no name.
        return {"monitor": self.compared.name, **{name: getattr(self, name) for name in names}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        own = dict(state)
        if own.pop("monitor", None) is None:
            self.monitor = MEAN_LOSS
            own["best"] = None if own["selected_step"] is None else own["best"]
        super().set_state(own)

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        whole = monitor_of(self.monitor, self.model, logs)
        if self.first is None:
            self.first = whole.first(logs)
        monitor = of_trained(whole, self.model)
        value = monitor.value(logs, self.first)
        best = monitor.worst if self.best is None else self.best
        if monitor.is_better(value, best) and self.nonfinite_step is None:
            self._keep(logs, value)
            return
        if monitor.relative and self.first is None:
            return  # There is no evaluation to compare with yet.
        self.worse_in_a_row += 1
        if self.patience is not None and self.worse_in_a_row >= self.patience:
            self.model.stop_training = True

    def _keep(self, logs: Mapping[str, Any], value: float) -> None:
        self.best, self.worse_in_a_row = value, 0
        self.selected_step = self.step
        self.selected_logs = {name: as_number(value) for name, value in logs.items()}
        self._unsaved = _weights(self.network)
        try:
            self.flush()
        except OSError as error:
            warnings.warn(
                f"{self.path} cannot be written until there is disk space: {error}", stacklevel=2
            )

    def flush(self) -> None:
        """Writes the selected weights if a previous attempt failed.

        Raises:
            OSError: If they cannot be written.
        """
        if self._unsaved is None:
            return
        # Written to a temporary file and moved, so that a crash leaves the last good file.
        with atomic.replacing(self.path) as unfinished:
            unfinished.write_bytes(self._unsaved)
        self._unsaved = None

    def end(self) -> None:
        self.flush()
        if self.restore_at_end:
            self.restore()

    def restore(self) -> None:
        """Loads the selected weights into the network, if any evaluation was selected."""
        if self.selected_step is not None:
            self.network.load_weights(self.path)


class _WeightsFile(io.BytesIO):
    """An in-memory file with the name that Keras requires for weights files."""

    def __str__(self) -> str:
        return "memory.weights.h5"


def _known(value: float) -> float | None:
    """Returns None for infinite and NaN values, which JSON cannot represent."""
    return value if math.isfinite(value) else None


def _weights(network: keras.Model) -> bytes:
    """Returns the content of a weights file.

    HDF5 must not write to disk itself: if the disk is full, closing its file aborts the process.
    """
    file = _WeightsFile()
    network.save_weights(file)
    return file.getvalue()
