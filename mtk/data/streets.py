"""Street scenes in memory."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtk import resources
from mtk.data import synthetic

Size = tuple[int, int]  # height and width


class Scene(NamedTuple):
    """One street scene.

    Attributes:
        image: uint8 `(height, width, 3)`, RGB.
        categories: int8 `(height, width)`; see `mtk.data.street_labels`.
        depth: float32 `(height, width)`: disparity in pixels of the original resolution, divided by
            256; zero where missing.
    """

    image: np.ndarray
    categories: np.ndarray
    depth: np.ndarray


class Streets(NamedTuple):
    """N scenes: the fields of `Scene`, with the scenes along the first axis."""

    images: np.ndarray
    categories: np.ndarray
    depths: np.ndarray

    def take(self, indices: np.ndarray) -> "Streets":
        """Returns the scenes at `indices`, in that order."""
        return Streets(*(_taken(array, indices) for array in self))


def _taken(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    if synthetic.is_repeated(array):
        return synthetic.repeated(array[0], len(indices))
    return array[indices]


def read_streets(
    paths: Sequence[tuple[Path, Path, Path]],
    size: Size,
    read: Callable[[tuple[Path, Path, Path], Size], Scene],
) -> Streets:
    """Reads scenes on all cores.

    Args:
        paths: Files of the image, the labels and the depth of each scene.
        size: Height and width of a scene.
        read: Reads one scene.

    Raises:
        ValueError: The first error that `read` raises.
    """
    height, width = size
    streets = Streets(
        np.empty((len(paths), height, width, 3), np.uint8),
        np.empty((len(paths), height, width), np.int8),
        np.empty((len(paths), height, width), np.float32),
    )
    with ThreadPoolExecutor(resources.cpu_count()) as readers:
        scenes = readers.map(lambda files: read(files, size), paths)
        try:
            for index, scene in enumerate(scenes):
                for array, part in zip(streets, scene, strict=True):
                    array[index] = part
        except BaseException:
            readers.shutdown(cancel_futures=True)
            raise
    return streets
