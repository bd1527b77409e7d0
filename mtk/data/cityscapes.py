"""CityScapes from its official folders or the public preprocessed ones."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mtk.data import cityscapes_arrays, cityscapes_files, synthetic
from mtk.data.street_labels import CATEGORIES
from mtk.data.streets import Size, Streets

_SCENES = (2975, 500)  # of the two splits


class CityScapesData(NamedTuple):
    """The two official splits with labels."""

    train: Streets
    val: Streets


def load_cityscapes(data_dir: str | Path, size: Size = (128, 256)) -> CityScapesData:
    """Reads CityScapes into memory.

    Args:
        data_dir: A folder with the official `leftImg8bit/`, `gtFine/` and `disparity/`, or with the
            public preprocessed `train/` and `val/`; it may hold any subset of the scenes.
        size: Height and width of a scene. Official files are resized to it; preprocessed ones must
            have it.

    Raises:
        ValueError: If there is neither, or a file is missing, damaged or invalid.

    Reference:
        Cordts et al., *The Cityscapes dataset for semantic urban scene understanding* (2016).
    """
    folder = Path(data_dir).expanduser()
    if (folder / cityscapes_files.FOLDERS[0]).is_dir():
        return CityScapesData(*(cityscapes_files.load(folder, s, size) for s in ("train", "val")))
    if (folder / "train" / cityscapes_arrays.FOLDERS[0]).is_dir():
        return CityScapesData(*(cityscapes_arrays.load(folder, s, size) for s in ("train", "val")))
    error = ValueError(
        f"No CityScapes at {folder}: expected the official folders "
        f"{', '.join(cityscapes_files.FOLDERS)}, or the preprocessed train and val with "
        f"{', '.join(cityscapes_arrays.FOLDERS)}."
    )
    return synthetic.instead(error, lambda: CityScapesData(*(_synthetic(n, size) for n in _SCENES)))


def _synthetic(number: int, size: Size) -> Streets:
    draw = np.random.default_rng(0)
    scene = (
        draw.integers(0, 256, (*size, 3), np.uint8),
        draw.integers(0, len(CATEGORIES), size, np.int8),
        draw.uniform(0.01, 0.5, size).astype(np.float32),
    )
    return Streets(*(synthetic.repeated(part, number) for part in scene))
