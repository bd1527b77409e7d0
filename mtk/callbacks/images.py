"""Images of what the network makes of some examples, for TensorBoard."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.callbacks.base import StepCallback
from mtk.callbacks.summary_writer import SummaryWriter


class Images(StepCallback):
    """Shows pictures at every evaluation, as images of the run `validation`.

    Args:
        curves: Where to write; a `TaskBoard`'s, whose files these pictures then share.
        draw: Draws pictures `(height, width, 3)`, uint8, by name, of what a network predicts; such
            as `Workload.draw_images`. Without any picture nothing is written.

    Raises:
        ValueError: In `fit`, if a picture has another form.
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
        """Brings everything written to the disk."""
        self.curves.flush(self.step)

    def _write(self, name: str, picture: np.ndarray) -> None:
        self.curves.put("validation", self.step, lambda: tf.summary.image(name, picture[None]))


def _check(name: str, picture: np.ndarray) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
        raise ValueError(
            f"A picture is a uint8 array (height, width, 3). Received {name!r}: {picture.dtype} "
            f"{picture.shape}"
        )
