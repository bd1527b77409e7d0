"""Ends a training whose loss is no number any more."""

import math
from collections.abc import Mapping
from typing import Any

from mtk.callbacks.base import StepCallback


class Divergence(StepCallback):
    """Stops `fit` at the first step with a loss that is infinite or NaN.

    Attributes:
        found_at: The step, or None.
        task: Name of a task whose loss it was; empty if only the mean of the losses overflowed.
    """

    found_at: int | None = None
    task: str = ""

    def stepped(self, logs: Mapping[str, Any]) -> None:
        # Logs are running means, and a running mean stays NaN: looking at one number is enough.
        if self.found_at is None and not math.isfinite(float(logs.get("loss", 0.0))):
            losses = {task: float(logs.get(f"{task}_loss", 0.0)) for task in self.task_names}
            bad = [task for task, loss in losses.items() if not math.isfinite(loss)]
            self.found_at, self.task = self.step, next(iter(bad), "")
            self.model.stop_training = True
