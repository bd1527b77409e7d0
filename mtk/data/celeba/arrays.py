"""CelebA as prepared by `python -m mtk.prepare celeba`."""

import operator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtk import records
from mtk.data import synthetic
from mtk.data.celeba.annotations import ATTRIBUTES, SPLITS
from mtk.data.fingerprints import of_file, sha256
from mtk.display import counted

FORMAT = "celeba-1"
IMAGES = "images.npy"
LABELS = "attributes.npy"
ARRAYS = (IMAGES, LABELS)
FILES = "files.txt"
MANIFEST = "manifest.json"
_OFFICIAL = {"train": 162_770, "validation": 19_867, "test": 19_962}  # faces


class FaceArrays(NamedTuple):
    """The faces of a split.

    Attributes:
        images: Array `(N, height, width, 3)`, uint8.
        attributes: Array `(N, 40)`, uint8, in the order of `ATTRIBUTES`: 1 where a face has it.
    """

    images: np.ndarray
    attributes: np.ndarray


def open_arrays(folder: str | Path) -> dict[str, FaceArrays]:
    """Opens a prepared folder, with memory-mapped arrays.

    Returns:
        The faces by split: "train", "validation" and "test".

    Raises:
        ValueError: If the folder does not hold prepared faces, or its files are damaged.
    """
    folder = Path(folder).expanduser()
    if not (folder / MANIFEST).is_file():
        return synthetic.instead(_not_prepared(folder), _synthetic)
    manifest = _manifest(folder)
    size, counts = manifest["size"], manifest["counts"]
    number = sum(counts.values())
    images = _mapped(folder / IMAGES, (number, size, size, 3))
    attributes = _mapped(folder / LABELS, (number, len(ATTRIBUTES)))
    if attributes.max(initial=0) > 1:
        raise ValueError(
            f"{folder / LABELS} is damaged: labels must be 0 or 1. Prepare the faces again."
        )
    bounds = np.cumsum([0, *(counts[split] for split in SPLITS)])
    return {
        split: FaceArrays(images[first:last], attributes[first:last])
        for split, first, last in zip(SPLITS, bounds, bounds[1:], strict=False)
    }


def fingerprint(folder: str | Path) -> dict[str, str]:
    """Returns the hash of each array and the size of each split of a prepared folder, by name.

    Raises:
        ValueError: If the folder does not hold prepared faces.
        OSError: If a file cannot be read.
    """
    folder = Path(folder).expanduser()
    counts = _manifest(folder)["counts"]
    sizes = {split: counted(counts[split], "example") for split in SPLITS}
    return {**sizes, **{name: f"sha256 {of_file(folder / name)}" for name in ARRAYS}}


def check(folder: Path) -> None:
    """Checks a prepared folder by reading all of it: 2.5 GB for all faces at 64x64 pixels.

    Raises:
        ValueError: If a file has changed since it was prepared.
    """
    for name, expected in _manifest(folder)["sha256"].items():
        if sha256(folder / name) != expected:
            raise ValueError(
                f"{folder / name} was changed after it was prepared. Remove {folder} and "
                "prepare the faces again."
            )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise _not_prepared(folder)
    try:
        manifest = records.json_object(path)
        fits = manifest["format"] == FORMAT and manifest["attributes"] == list(ATTRIBUTES)
        fits = fits and set(manifest["counts"]) == set(SPLITS)
        fits = fits and set(manifest["sha256"]) == set(ARRAYS)
        manifest["size"] = operator.index(manifest["size"])
        manifest["counts"] = {s: operator.index(n) for s, n in manifest["counts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}). Prepare the faces again.") from error
    if not fits:
        raise ValueError(f"{path} describes another data set or version. Prepare CelebA again.")
    return manifest


def _not_prepared(folder: Path) -> ValueError:
    return ValueError(
        f"No prepared CelebA in {folder}: {MANIFEST} is missing. Prepare it once from the "
        "official files: python -m mtk.prepare celeba --gin_file=configs/prepare_celeba.gin "
        f"--gin.data_dir='\"<their folder>\"' --out={folder}"
    )


def _synthetic(size: int = 64) -> dict[str, FaceArrays]:
    draw = np.random.default_rng(0)
    face = draw.integers(0, 256, (size, size, 3), np.uint8)
    return {
        split: FaceArrays(
            synthetic.repeated(face, number),
            draw.integers(0, 2, (number, len(ATTRIBUTES)), np.uint8),
        )
        for split, number in _OFFICIAL.items()
    }


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}). Prepare the faces again.") from error
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(
            f"{path} contains {array.dtype} {array.shape}, but {MANIFEST} says uint8 {shape}. "
            "Prepare the faces again."
        )
    return array
