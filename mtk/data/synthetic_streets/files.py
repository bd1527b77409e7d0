"""Writes a synthetic world of street scenes in CityScapes' format."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from mtk.data.streets import Size
from mtk.data.synthetic_streets.objects import things
from mtk.data.synthetic_streets.scene import Canvas, ground, houses, put, skyline

_CITY = "streetworld"
_BORDER = 0.05  # of the width, at the left, where a stereo camera has no disparity
_BONNET_ID = 1  # "ego vehicle", which is void


class WorldFiles(NamedTuple):
    """A scene as stored in the official files.

    Attributes:
        image: uint8 `(height, width, 3)`.
        label_ids: uint8 `(height, width)`.
        disparity: uint16 `(height, width)`; 1 + 256 times the pixels, zero where missing.
    """

    image: np.ndarray
    label_ids: np.ndarray
    disparity: np.ndarray


def make_scene(size: Size, seed: int, number: int) -> WorldFiles:
    """Generates a street scene: ground, houses, and objects that occlude one another.

    The camera is that of CityScapes, so that depths have the same range. The sky, the ego vehicle
    and a border at the left have no disparity.

    Args:
        size: Height and width.
        seed: Seed of the world.
        number: Number of the scene.

    Raises:
        ValueError: If the scene is too tall for disparities of 16 bits.
    """
    height, width = size
    generator = np.random.default_rng([seed, number])
    canvas = Canvas(height, width, height * generator.uniform(0.34, 0.42), generator)
    ground(canvas)
    skyline(canvas)
    for side in (-1, 1):
        houses(canvas, side)
    for distance, blocks in things(generator):
        for block in blocks:
            put(canvas, block, distance)
    stored = np.where(canvas.disparity > 0, np.rint(canvas.disparity * 256) + 1, 0)
    stored[:, : round(_BORDER * width)] = 0
    if stored.max() > np.iinfo(np.uint16).max:
        raise ValueError(
            "CityScapes files can store disparities of up to 256 pixels, but a scene this tall "
            f"for its width shows ground with a larger disparity. Received: size={tuple(size)}"
        )
    bonnet = height - round(height * generator.uniform(0.03, 0.08))
    canvas.image[bonnet:] = generator.uniform(20, 60)
    canvas.label_ids[bonnet:] = _BONNET_ID
    stored[bonnet:] = 0
    image = np.rint(canvas.image).astype(np.uint8)
    return WorldFiles(image, canvas.label_ids, stored.astype(np.uint16))


def write_world(folder: str | Path, num_train: int, num_val: int, size: Size, seed: int) -> None:
    """Writes a world in CityScapes' official layout; see `mtk.data.cityscapes_files`.

    Args:
        folder: Folder in which `leftImg8bit`, `gtFine` and `disparity` are written.
        num_train: Number of scenes of the split "train".
        num_val: Number of scenes of the split "val".
        size: Height and width of a scene.
        seed: Seed of the world. The same seed gives the same scenes; larger numbers add further
            ones.
    """
    for split, seeds, number in (("train", 0, num_train), ("val", 1, num_val)):
        for index in range(number):
            scene = make_scene(size, 2 * seed + seeds, index)
            write_scene(Path(folder), split, f"{_CITY}_{index:06}_000000", scene)


def write_scene(folder: Path, split: str, name: str, scene: WorldFiles) -> None:
    """Writes the three files of a scene, whose name starts with its city."""
    city = name.split("_")[0]
    for kind, ending, pixels in (
        ("leftImg8bit", "leftImg8bit", scene.image),
        ("gtFine", "gtFine_labelIds", scene.label_ids[..., np.newaxis]),
        ("disparity", "disparity", scene.disparity[..., np.newaxis]),
    ):
        path = folder / kind / split / city / f"{name}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
