"""CelebA: forty attributes of a face, one task each."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from mtk.data.celeba import ATTRIBUTES, FaceArrays, fingerprint, open_arrays
from mtk.data.labels import require_labels
from mtk.data.sources import Source, Structure, in_memory, memory_mapped
from mtk.metrics import SparseCategoricalError
from mtk.models.resnet import resnet18
from mtk.models.sharing import ResNet18
from mtk.places import InputPath
from mtk.ranges import check_count
from mtk.tasks import Task
from mtk.workloads.arrays import MakeNetwork
from mtk.workloads.base import Workload
from mtk.workloads.captions import captioned

_PICTURED = 8  # faces


class CelebA(Workload):
    """Forty attributes of a face, each present or absent.

    Batches are `(images (B, height, width, 3) float32, {attribute: labels (B,) int32})`, with
    pixels from -1 to 1. The splits are the official ones.

    Args:
        data_dir: Folder written by `python -m mtk.prepare celeba`.
        in_memory: Whether to read the images into memory, 2.5 GB at 64x64; otherwise they are
            memory-mapped.
        widths: Channels of the network's four stages.
        network: Makes a network with more than one layer per attribute on the features, from
            `mtk.models.sharing.ResNet18`, the names of the tasks and `seed`, such as
            `mtk.models.sharing.mmoe`.

    Raises:
        ValueError: If the folder does not hold prepared faces, or a split has none.

    Reference:
        Liu et al., *Deep learning face attributes in the wild* (2015), for the data; Sener &
        Koltun, *Multi-task learning as multi-objective optimization* (2018), section 5.2, for the
        tasks and the network. Departure: they subtract the pixel mean of another dataset without
        scaling; batch norm after the first convolution compensates for either.
    """

    name = "celeba"

    def __init__(
        self,
        data_dir: InputPath,
        in_memory: bool = True,
        widths: tuple[int, int, int, int] = (64, 128, 256, 512),
        network: MakeNetwork | None = None,
    ):
        check_count(widths=widths)
        self.data_dir = data_dir
        faces = open_arrays(data_dir)
        empty = [split for split, found in faces.items() if not len(found.images)]
        if empty:
            raise ValueError(
                f"The prepared faces in {data_dir} have no images for: {', '.join(empty)}. "
                "Prepare them again with images of all three splits."
            )
        self.tasks = [_classification(name) for name in ATTRIBUTES]
        self.widths = widths
        self._share = network
        self._size = faces["train"].images.shape[1]
        self._in_memory = in_memory
        require_labels(_by_task(faces["train"]))
        super().__init__(*(self._source(faces[name]) for name in ("train", "validation", "test")))
        self._examples = faces["validation"].images[:_PICTURED], faces["validation"].attributes

    def network(self, seed: int | None = None) -> keras.Model:
        shape = (self._size, self._size, 3)
        if self._share is not None:
            return self._share(ResNet18(shape, widths=self.widths), ATTRIBUTES, seed=seed)
        return resnet18(shape, ATTRIBUTES, widths=self.widths, seed=seed)

    def fingerprint(self) -> Mapping[str, str]:
        return fingerprint(self.data_dir)

    def draw_images(self, network: keras.Model) -> Mapping[str, np.ndarray]:
        """Draws the first validation faces with their true or predicted attributes."""
        images, labels = self._examples
        outputs = network(_scaled(tf.convert_to_tensor(images)), training=False)
        found = np.stack([np.argmax(outputs[name], axis=-1) for name in ATTRIBUTES], axis=1)
        return {"faces": captioned(images, labels[: len(images)] > 0, found > 0, ATTRIBUTES)}

    def _source(self, faces: FaceArrays) -> Source:
        # One array of all labels, since forty would be gathered one by one.
        arrays = (faces.images, faces.attributes)
        return in_memory(arrays, _batch) if self._in_memory else memory_mapped(arrays, _batch)


def _batch(arrays: Structure) -> Structure:
    images, attributes = arrays
    columns = tf.unstack(tf.cast(attributes, tf.int32), axis=1)
    return _scaled(images), dict(zip(ATTRIBUTES, columns, strict=True))


def _scaled(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def _by_task(faces: FaceArrays) -> dict[str, np.ndarray]:
    return dict(zip(ATTRIBUTES, faces.attributes.T, strict=True))


def _classification(name: str) -> Task:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return Task(name, loss, metrics=[SparseCategoricalError()])
