"""Ends the training after a number of steps."""

from collections.abc import Mapping
from typing import Any

from mtk.callbacks.base import StepCallback


class MaxSteps(StepCallback):
    """Stops `fit` after the step `steps`, after a last validation.

    With it a run may end inside one of Keras' epochs.

    Args:
        steps: The last optimizer step.
    """

    def __init__(self, steps: int):
        super().__init__()
        self.steps = steps

    def stepped(self, logs: Mapping[str, Any]) -> None:
        del logs
        if self.step >= self.steps:
            self.model.stop_training = True
