"""Stops training if losses or gradients are infinite or NaN."""

import math
from collections.abc import Mapping
from typing import Any

from mtk.callbacks.base import StepCallback, entries

# Steps between two reads of the model's record: a read waits for the step to be complete.
_LOOK_EVERY = 10


class TerminateOnNonFinite(StepCallback):
    """Stops `fit` when a loss, a task weight or the combined gradient is infinite or NaN.

    The losses are checked after each step and each validation. They may stay finite although the
    gradient does not: a maximum, as in pooling, hides NaN on a CPU. A `MultiTaskModel` records the
    step and its tasks when this happens; the record is read every 10 steps and at each evaluation.
    Steps that a model skips do not stop `fit`, unless 100 in a row are skipped.

    Attributes:
        found_at: The step at which it was found, or None.
        task: Name of a task whose loss, gradient or weight was not finite; empty if it was only the
            mean of the losses or the combined gradient.
    """

    found_at: int | None = None
    task: str = ""

    def begin(self) -> None:
        self.found_at, self.task = None, ""

    def get_state(self) -> dict[str, Any]:
        return {"found_at": self.found_at, "task": self.task}

    def stepped(self, logs: Mapping[str, Any]) -> None:
        # Logs are running means, which stay NaN, so checking one number is enough.
        if self.passed(_LOOK_EVERY) or not math.isfinite(float(logs.get("loss", 0.0))):
            self._look(logs)

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        self._look(logs)

    def _look(self, logs: Mapping[str, Any]) -> None:
        if self.found_at is not None:
            return
        # If steps are skipped, training logs include only finite steps, or none at all.
        skips = getattr(self.model, "skips_steps", False)
        found = entries(logs, self.task_names, "train")
        # The mean is over the tasks that have labels; if it is finite, all their losses are.
        fine = {
            e.split for e in found if not e.task and e.name == "loss" and math.isfinite(e.value)
        }
        bad = {
            entry.task
            for entry in found
            if entry.name in ("loss", "weight") and not math.isfinite(entry.value)
            if not (entry.name == "loss" and entry.split in fine)
            if not (skips and entry.split == "train")
        }
        noted = self.nonfinite_step
        if bad or noted is not None:
            self.found_at = self.step if noted is None else noted
            # Tasks recorded at that step come first: by the time of a check, all may be bad.
            own = self.nonfinite_tasks if noted is not None else []
            self.task = next((name for name in self.task_names if name in (own or bad)), "")
            self.model.stop_training = True
