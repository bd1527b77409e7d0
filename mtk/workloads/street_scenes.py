"""Segmentation and depth of street scenes: base of CityScapes and StreetWorld."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from mtk.data.fingerprints import described
from mtk.data.labels import require_labels
from mtk.data.sources import Source, Structure, in_memory
from mtk.data.street_labels import CATEGORIES, VOID
from mtk.data.streets import Streets
from mtk.metrics import MeanIoU, PixelAccuracy, RelativeError
from mtk.models.deeplab import deeplab
from mtk.models.sharing import DeepLab
from mtk.tasks import Task
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.base import Workload
from mtk.workloads.street_images import draw_streets

# Mean color of ImageNet in the order blue, green, red, as Keras' ResNet weights were trained.
_MEAN = (103.939, 116.779, 123.68)
_UNMEASURED = 0.0
_PICTURED = 4  # streets


class StreetScenes(Workload):
    """Seven categories and the depth of each pixel of a street scene.

    The network, also as exported, reads blue, green and red, minus ImageNet's mean color, as Keras'
    weights of ResNet-50 were trained. Batches are `(images (B, height, width, 3) float32,
    {"segmentation": categories (B, height, width) int32, "depth": (B, height, width, 1) float32})`.
    Void pixels (-1) and those without a measured depth (0) are ignored: a loss is the mean over the
    labelled pixels of the global batch, a metric over those of the split.

    Args:
        train: The training split.
        validation: The validation split.
        test: The test split.
        network: Makes a network with another way of sharing than one trunk, from
            `mtk.models.sharing.DeepLab`, the names of the tasks, `tower`, `dropout` and `seed`,
            such as `mtk.models.sharing.mtan`.
    """

    def __init__(
        self,
        train: Streets,
        validation: Streets,
        test: Streets,
        network: MakeNetwork | None = None,
    ):
        self.tasks = [_segmentation(), _depth()]
        labels = {"segmentation": train.categories, "depth": train.depths}
        require_labels(labels, missing={"segmentation": VOID, "depth": _UNMEASURED})
        self.image_shape = train.images.shape[1:]
        self.outputs = {"segmentation": len(CATEGORIES), "depth": 1}
        self._share = network
        splits = {"train": train, "validation": validation, "test": test}
        self._fingerprint = {name: described(len(s.images), *s) for name, s in splits.items()}
        super().__init__(*map(_source, splits.values()))
        self._examples = validation.take(np.arange(min(_PICTURED, len(validation.images))))

    def on_deeplab(self, trunk: DeepLab, seed: int | None) -> keras.Model:
        """Returns a network on a trunk, with the requested way of sharing.

        Args:
            trunk: The trunk.
            seed: Makes the initial weights and the dropout reproducible.
        """
        if self._share is None:
            return deeplab(**vars(trunk), seed=seed)
        own = {"tower": trunk.head.width, "dropout": trunk.head.dropout, "seed": seed}
        return self._share(trunk, list(self.outputs), **own)

    def fingerprint(self) -> Mapping[str, str]:
        return self._fingerprint

    def draw_images(self, network: keras.Model) -> Mapping[str, np.ndarray]:
        """Draws the first validation scenes with true and predicted categories and depths."""
        found = network(_scaled(tf.convert_to_tensor(self._examples.images)), training=False)
        categories = np.argmax(found["segmentation"], axis=-1)
        depths = np.asarray(found["depth"], np.float32)[..., 0]
        return {"streets": draw_streets(self._examples, categories, depths)}


def _source(streets: Streets) -> Source:
    return in_memory(tuple(streets), _batch)


def _batch(arrays: Structure) -> Structure:
    images, categories, depths = arrays
    labels = {"segmentation": tf.cast(categories, tf.int32), "depth": depths[..., tf.newaxis]}
    return _scaled(images), labels


def _scaled(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(images[..., ::-1], tf.float32) - tf.constant(_MEAN)


def _segmentation() -> Task:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    metrics = [MeanIoU(len(CATEGORIES)), PixelAccuracy(len(CATEGORIES))]
    return Task("segmentation", loss, metrics, missing=VOID)


def _depth() -> Task:
    metrics = [keras.metrics.MeanAbsoluteError(name="absolute_error"), RelativeError()]
    return Task("depth", keras.losses.MeanAbsoluteError(), metrics, missing=_UNMEASURED)
