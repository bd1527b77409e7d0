"""MNIST from IDX files, from an `.npz` file, or from TensorFlow Datasets."""

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtk import extras
from mtk.data import synthetic
from mtk.data.bounded import read_npz
from mtk.data.digits import Digits
from mtk.data.idx import read_idx

_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
_TFDS_BATCH = 10_000  # images are read in batches, since one by one takes long


class Mnist(NamedTuple):
    """The official splits, with pixels from 0 to 255."""

    train: Digits
    test: Digits


def load_mnist(data_dir: str | None = None) -> Mnist:
    """Loads MNIST.

    Args:
        data_dir: A folder with the four IDX files, plain or `.gz`; or an `.npz` file with the
            arrays `x_train`, `y_train`, `x_test` and `y_test`. Without it TensorFlow Datasets
            provides MNIST, downloaded if needed.

    Raises:
        ValueError: If a file is missing or damaged, or does not hold MNIST.
        ImportError: If no `data_dir` is given and TensorFlow Datasets is not installed.

    Reference:
        LeCun et al., *Gradient-based learning applied to document recognition* (1998).
    """
    if data_dir is None:
        return _from_tfds()
    path = Path(data_dir).expanduser()
    if path.is_dir():
        return _from_idx(path)
    if path.suffix == ".npz" and path.is_file():
        return _from_npz(path)
    error = ValueError(
        f"No MNIST at {path}: expected a folder with the files "
        f"{', '.join(name for names in _IDX_FILES.values() for name in names)} (optionally with "
        "the suffix .gz), or one .npz file."
    )
    return synthetic.instead(error, _synthetic)


def _synthetic() -> Mnist:
    draw = np.random.default_rng(0)
    return Mnist(
        *(
            Digits(
                draw.integers(0, 256, (number, 28, 28), np.uint8),
                draw.integers(0, 10, number, np.int32),
            )
            for number in (60_000, 10_000)
        )
    )


def _from_idx(folder: Path) -> Mnist:
    splits = []
    for images_name, labels_name in _IDX_FILES.values():
        images, labels = _find(folder, images_name), _find(folder, labels_name)
        splits.append(_checked(read_idx(images, 3), read_idx(labels, 1), f"{images}, {labels}"))
    return Mnist(*splits)


def _find(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ValueError(f"MNIST's file {name} (or {name}.gz) is missing in {folder}.")


def _from_npz(path: Path) -> Mnist:
    try:
        found = read_npz(path, _NPZ_ARRAYS)
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a readable .npz file: {error}") from error
    missing = sorted(set(_NPZ_ARRAYS) - set(found))
    if missing:
        raise ValueError(
            f"{path} lacks the arrays {missing}; expected x_train, y_train, x_test and y_test."
        )
    return Mnist(
        *(_checked(found[f"x_{s}"], found[f"y_{s}"], f"{path} ({s})") for s in ("train", "test"))
    )


def _from_tfds() -> Mnist:
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        missing = ImportError(
            "Without `data_dir`, MNIST is read from TensorFlow Datasets, which is not "
            f"installed. Install it with: {extras.command('tfds')}, or give a folder with MNIST's "
            "IDX files."
        )
        missing.__cause__ = error
        return synthetic.instead(missing, _synthetic)
    splits = []
    for name in ("train", "test"):
        parts = list(tfds.as_numpy(tfds.load("mnist", split=name, batch_size=_TFDS_BATCH)))
        images = np.concatenate([part["image"][..., 0] for part in parts])
        labels = np.concatenate([part["label"] for part in parts])
        splits.append(_checked(images, labels, f"TFDS mnist ({name})"))
    return Mnist(*splits)


def _checked(images: np.ndarray, labels: np.ndarray, origin: str) -> Digits:
    if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise ValueError(
            f"{origin}: expected uint8 images of shape (N, 28, 28). "
            f"Received: {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1]:
        raise ValueError(
            f"{origin}: expected one label for each of the {len(images)} images. "
            f"Received labels of shape {labels.shape}"
        )
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if wrong.size:
        raise ValueError(
            f"{origin}: labels must be digits from 0 to 9. Received: {labels[wrong[0]]} at "
            f"position {wrong[0]}"
        )
    return Digits(images, labels.astype(np.int32))
