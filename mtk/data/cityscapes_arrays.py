"""CityScapes as preprocessed for multi-task learning: small arrays, one file each."""

from pathlib import Path

import numpy as np

from mtk.data import bounded
from mtk.data.street_labels import CATEGORIES, VOID
from mtk.data.streets import Scene, Size, Streets, read_streets

FOLDERS = ("image", "label", "depth")
# The first publication has labels of 2, 7 and 19 classes; these are the seven.
_SEVEN_CLASSES = "label_7"
_OVERSHOOT = 1e-3  # by which interpolation may exceed the range of an image


def load(folder: Path, split: str, size: Size) -> Streets:
    """Reads a split, in the order of its file numbers.

    Images are stored in 8 bits, which changes their values by at most 0.2 % of white; they take a
    quarter of the memory, and have the format of the other reader.

    Args:
        folder: Contains `<split>/image/<number>.npy` with values in 0 ... 1 (or uint8), and
            likewise `label` (or `label_7`) with 0 ... 6 and -1 for void, and `depth` with 0 for
            missing.
        split: "train" or "val".
        size: Height and width that the arrays must have.

    Raises:
        ValueError: If a file is missing, damaged or invalid.

    Reference:
        Liu et al., *End-to-end multi-task learning with attention* (2019), the source of these
        data.
    """
    return read_streets(_paths(folder / split), size, _read)


def _paths(folder: Path) -> list[tuple[Path, Path, Path]]:
    image, label, depth = (folder / kind for kind in FOLDERS)
    if (folder / _SEVEN_CLASSES).is_dir():
        label = folder / _SEVEN_CLASSES
    kinds = (image, label, depth)
    found = [{path.stem for path in kind.glob("*.npy")} for kind in kinds]
    for kind, names in zip(kinds, found, strict=True):
        missing = set.union(*found) - names
        if missing:
            raise ValueError(
                f"{kind / min(missing, key=_number)}.npy is missing. Each scene needs three "
                f"files, and another folder in {folder} has one of this scene."
            )
    if not found[0]:
        raise ValueError(f"{image} contains no *.npy file.")
    files = [f"{stem}.npy" for stem in sorted(found[0], key=_number)]
    return [(image / file, label / file, depth / file) for file in files]


def _number(stem: str) -> tuple[int, str]:
    return (int(stem) if stem.isdecimal() else -1), stem


def _read(paths: tuple[Path, Path, Path], size: Size) -> Scene:
    image, label, depth = paths
    return Scene(_image(image, size), _label(label, size), _depth(depth, size))


def _image(path: Path, size: Size) -> np.ndarray:
    values = _array(path, (*size, 3))
    if values.dtype == np.uint8:
        return values
    near = (values >= -_OVERSHOOT) & (values <= 1 + _OVERSHOOT)
    _require(path, near, values, "image values must be in 0 ... 1")
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _label(path: Path, size: Size) -> np.ndarray:
    values = _array(path, size)
    known = np.isin(values, np.arange(VOID, len(CATEGORIES)))
    _require(path, known, values, f"labels must be -1 (void) or 0 ... {len(CATEGORIES) - 1}")
    return values.astype(np.int8)


def _depth(path: Path, size: Size) -> np.ndarray:
    values = _array(path, size)
    fine = np.isfinite(values) & (values >= 0)
    _require(path, fine, values, "depth must be 0 or more")
    return values.astype(np.float32)


def _array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        with bounded.opened(path) as file:
            values = bounded.read_array(file, path.stat().st_size, path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged or truncated: {error}") from error
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected an array of numbers. Received: {values.dtype}")
    if values.shape not in (shape, (*shape, 1)):
        raise ValueError(
            f"{path}: expected an array of shape {shape}. Received: {values.shape}. Arrays are "
            "not resized; set the resolution with `size` of the workload."
        )
    return values.reshape(shape)


def _require(path: Path, fine: np.ndarray, values: np.ndarray, rule: str) -> None:
    if not fine.all():
        raise ValueError(f"{path}: {rule}. Received: {values[~fine][0]}")
