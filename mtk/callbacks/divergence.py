"""Ends a training whose loss is no number any more."""

import math
from collections.abc import Mapping
from typing import Any

from mtk.callbacks.base import StepCallback


class Divergence(StepCallback):
    """Stops `fit` at the first step, or validation, with a loss that is infinite or NaN.

    Attributes:
        found_at: The step, or None.
        task: Name of a task whose loss it was; empty if only the mean of the losses overflowed.
    """

    found_at: int | None = None
    task: str = ""

    def stepped(self, logs: Mapping[str, Any]) -> None:
        # Logs are running means, and a running mean stays NaN: looking at one number is enough.
        self._look(logs, prefix="")

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        self._look(logs, prefix="val_")

    def _look(self, logs: Mapping[str, Any], prefix: str) -> None:
        if self.found_at is not None or _is_finite(logs, f"{prefix}loss"):
            return
        bad = [name for name in self.task_names if not _is_finite(logs, f"{prefix}{name}_loss")]
        self.found_at, self.task = self.step, next(iter(bad), "")
        self.model.stop_training = True


def _is_finite(logs: Mapping[str, Any], key: str) -> bool:
    return math.isfinite(float(logs.get(key, 0.0)))
