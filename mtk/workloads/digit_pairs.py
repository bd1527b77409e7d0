"""Two digits in one image, one task each: base of Multi-MNIST and Multi-digits."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from mtk.data.fingerprints import described
from mtk.data.labels import require_labels
from mtk.data.overlay import Pairs
from mtk.data.sources import Source, Structure, in_memory
from mtk.models.lenet import lenet
from mtk.models.sharing import LeNet
from mtk.tasks import Task
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.base import Workload


class DigitPairs(Workload):
    """Classification of the left and of the right digit of an image.

    Batches are `(images (B, height, width, 1) float32, {"left": labels, "right": labels})` with
    int32 labels `(B,)`.

    Args:
        train: The training split.
        validation: The validation split.
        test: The test split.
        mean: Mean to subtract from the pixels, in their unit.
        deviation: Standard deviation by which they are then divided.
    """

    def __init__(self, train: Pairs, validation: Pairs, test: Pairs, mean: float, deviation: float):
        self.tasks = [_classification("left"), _classification("right")]
        self.mean = mean
        self.deviation = deviation
        require_labels({"left": train.left, "right": train.right})
        splits = {"train": train, "validation": validation, "test": test}
        self._fingerprint = {name: described(len(p.left), *p) for name, p in splits.items()}
        super().__init__(*map(self._source, splits.values()))

    def _source(self, pairs: Pairs) -> Source:
        labels = {"left": pairs.left, "right": pairs.right}
        return in_memory((pairs.images[..., np.newaxis], labels), self._normalize)

    def _normalize(self, batch: Structure) -> Structure:
        images, labels = batch
        return (tf.cast(images, tf.float32) - self.mean) / self.deviation, labels

    def made(
        self, trunk: LeNet, units: int, dropout: float, share: MakeNetwork | None, seed: int | None
    ) -> keras.Model:
        """Builds a network.

        Args:
            trunk: A LeNet.
            units: Units of its dense layers.
            dropout: Rate of its dropout layers.
            share: Makes a network with another way of sharing than a whole LeNet, from `trunk`, the
                names of the tasks, `width`, `tower`, `dropout` and `seed`.
            seed: Makes initial weights and dropout reproducible.
        """
        names = [task.name for task in self.tasks]
        if share is not None:
            return share(trunk, names, width=units, tower=units, dropout=dropout, seed=seed)
        return lenet(
            trunk.input_shape,
            names,
            channels=trunk.channels,
            kernel=trunk.kernel,
            units=units,
            dropout=dropout,
            seed=seed,
        )

    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint


def _classification(name: str) -> Task:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Task(name, loss, metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")])
