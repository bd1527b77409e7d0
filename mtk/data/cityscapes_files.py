"""CityScapes as officially published: three folders of PNG files."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from mtk.data.png import COLOUR, GREY, read_png
from mtk.data.street_labels import categories
from mtk.data.streets import Scene, Size, Streets, read_streets

FOLDERS = ("leftImg8bit", "gtFine", "disparity")
_ENDINGS = ("_leftImg8bit.png", "_gtFine_labelIds.png", "_disparity.png")
_STEPS_PER_PIXEL = 256  # of the stored disparity
_DEPTH_UNIT = 256  # pixels of disparity


def load(folder: Path, split: str, size: Size) -> Streets:
    """Reads a split, in the order of its file names.

    Args:
        folder: Contains `FOLDERS`, each with `<split>/<city>/*.png`.
        split: "train" or "val".
        size: Height and width to which everything is resized.

    Raises:
        ValueError: If a file is missing, damaged or invalid.
    """
    return read_streets(_paths(folder, split), size, _read)


def _paths(folder: Path, split: str) -> list[tuple[Path, Path, Path]]:
    def file(scene: str, kind: int) -> Path:
        return folder / FOLDERS[kind] / split / (scene + _ENDINGS[kind])

    found = []
    for kind in range(len(FOLDERS)):
        root = folder / FOLDERS[kind] / split
        files = root.glob(f"*/*{_ENDINGS[kind]}")
        found.append({str(f.relative_to(root)).removesuffix(_ENDINGS[kind]) for f in files})
    scenes = sorted(set.union(*found))
    for scene in scenes:
        for kind, names in enumerate(found):
            if scene not in names:
                raise ValueError(
                    f"{file(scene, kind)} is missing. Each scene needs three files, and another "
                    f"folder in {folder} has one of this scene."
                )
    if not scenes:
        raise ValueError(f"{folder / FOLDERS[0] / split} contains no file */*{_ENDINGS[0]}.")
    return [(file(scene, 0), file(scene, 1), file(scene, 2)) for scene in scenes]


def _read(paths: tuple[Path, Path, Path], size: Size) -> Scene:
    image = read_png(paths[0], 8, COLOUR)
    labels = read_png(paths[1], 8, GREY)
    disparity = _disparity(paths[2])
    for path, pixels in zip(paths[1:], (labels, disparity), strict=True):
        if pixels.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"{path} has {pixels.shape[0]}x{pixels.shape[1]} pixels, but {paths[0]} has "
                f"{image.shape[0]}x{image.shape[1]}."
            )
    try:
        shown = categories(labels)  # At full resolution, so that every invalid label is found.
    except ValueError as error:
        raise ValueError(f"{paths[1]}: {error}") from error
    return Scene(_averaged(image, size), _nearest(shown, size), depth(_nearest(disparity, size)))


def _disparity(path: Path) -> np.ndarray:
    try:
        return read_png(path, 16, GREY)
    except ValueError as error:
        if "Received: 8 bits" not in str(error):
            raise
        raise ValueError(
            f"{error}. Disparity is stored in 1/256 pixels, which does not fit into 8 bits: "
            "this file is for viewing, or was converted. Use the file from disparity_trainvaltest."
        ) from error


def depth(disparity: np.ndarray) -> np.ndarray:
    """Maps stored disparity to the target of the depth task.

    A stored p > 0 means (p - 1) / 256 pixels; zero means missing. In the target, a disparity of
    zero pixels (p = 1, infinitely far) is also zero, like a missing one.

    Args:
        disparity: uint16.

    Returns:
        float32 of the same shape: pixels / 256, zero where missing.
    """
    pixels = (np.maximum(disparity, 1).astype(np.float32) - 1) / _STEPS_PER_PIXEL
    return pixels / _DEPTH_UNIT


def _averaged(image: np.ndarray, size: Size) -> np.ndarray:
    """Resizes an image by area means, since nearest neighbors would alias fine texture."""
    resized = tf.image.resize(image, size, tf.image.ResizeMethod.AREA)
    return np.rint(resized.numpy()).astype(np.uint8)


def _nearest(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Resizes labels or disparity by nearest neighbors; drops the last axis.

    A mean of two labels would be a third one. A mean of disparities at the edge of an object would
    be that of no object, and must not include zeros, which are missing. Nearest neighbors also take
    label and disparity from the same pixel.
    """
    resized = tf.image.resize(pixels, size, tf.image.ResizeMethod.NEAREST_NEIGHBOR)
    return resized.numpy()[..., 0]
