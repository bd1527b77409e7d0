"""Images of a network's predictions for some examples, for TensorBoard."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.callbacks.base import StepCallback
from mtk.callbacks.summary_writer import SummaryWriter


class Images(StepCallback):
    """Writes images at every evaluation, to the run `validation` in TensorBoard.

    Args:
        curves: The writer, such as that of a `TaskBoard`, whose files these images then share.
        draw: Function that returns images `(height, width, 3)`, uint8, by name, of the predictions
            of a network, such as `Workload.draw_images`. If it returns none, nothing is written.

    Raises:
        ValueError: In `fit`, if an image has another shape or type.
    """

    def __init__(
        self, curves: SummaryWriter, draw: Callable[[keras.Model], Mapping[str, np.ndarray]]
    ):
        super().__init__()
        self.curves = curves
        self.draw = draw

    def evaluated(self, logs: Mapping[str, Any]) -> None:
        del logs
        for name, picture in self.draw(getattr(self.model, "network", self.model)).items():
            _check(name, picture)
            self._write(name, picture)

    def end(self) -> None:
        self.flush()

    def flush(self) -> None:
        """Flushes everything written to disk."""
        self.curves.flush(self.step)

    def _write(self, name: str, picture: np.ndarray) -> None:
        self.curves.put("validation", self.step, lambda: tf.summary.image(name, picture[None]))


def _check(name: str, picture: np.ndarray) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ValueError(
            "An image must be a uint8 array of shape (height, width, 3). Received for "
            f"{name!r}: {picture.dtype} {picture.shape}"
        )
