"""A log of the metrics, with one line per value."""

import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from mtk.callbacks.base import StepCallback, entries
from mtk.callbacks.weight_quantiles import EVERY, WeightQuantiles


class MetricsLog(StepCallback):
    """Appends the metrics of each evaluation to a JSON-lines file.

    Each line is `{"step", "split", "task", "name", "value"}`, without times, so that equal runs
    write equal files. Values of the split "train" are means over the steps since the previous
    evaluation. Infinite and NaN values are written as null, since JSON cannot represent them. If
    weights change from step to step, `weight_low` and `weight_high` are the 5th and the 95th
    percentile of each task's share in single steps.

    Lines that cannot be written, for example because the disk is full, are kept and written with
    the next ones.

    Args:
        path: The file.

    Attributes:
        unwritten: Lines that are not in the file yet.
        weights: Shares of the task weights since the previous evaluation.

    Raises:
        OSError: At the end of `fit`, if there are still unwritten lines.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self.unwritten = ""
        self.weights = WeightQuantiles()

    def stepped(self, logs: Mapping[str, Any]) -> None:
        del logs
        if self.passed(EVERY) and self.task_names and not self.model.combiner.is_static:
            self.weights.add(keras.ops.convert_to_numpy(self.model.last_weights))

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        self.write("train", {**logs, **self.weights.named(self.task_names)})
        self.weights = WeightQuantiles()

    def end(self) -> None:
        self.flush()

    def get_state(self) -> dict[str, Any]:
        return {"unwritten": self.unwritten, "counts": self.weights.counts.tolist()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.unwritten = state["unwritten"]
        self.weights = WeightQuantiles(state.get("counts", ()))

    def flush(self) -> None:
        """Writes the lines that are not in the file yet, either all or none.

        Raises:
            OSError: If they cannot be written.
        """
        if not self.unwritten:
            return
        length = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self.unwritten)
        except OSError:
            if self.path.exists():
                os.truncate(self.path, length)
            raise
        self.unwritten = ""

    def write(self, split: str, logs: Mapping[str, Any], step: int | None = None) -> None:
        """Writes a line for each value.

        Args:
            split: The split of the logs without "val_" in their name.
            logs: Keras' logs.
            step: The step they belong to; by default the last one.
        """
        lines = [
            json.dumps(
                {
                    "step": self.step if step is None else step,
                    **entry._asdict(),
                    "value": entry.value if math.isfinite(entry.value) else None,
                }
            )
            for entry in entries(logs, self.task_names, split)
        ]
        self.unwritten += "\n".join([*lines, ""])
        try:
            self.flush()
        except OSError as error:
            warnings.warn(
                f"{self.path} cannot be written until there is disk space: {error}", stacklevel=2
            )
