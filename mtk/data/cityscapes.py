"""CityScapes from its official folders, or from the public preprocessed one."""

from pathlib import Path
from typing import NamedTuple

from mtk.data import cityscapes_arrays, cityscapes_files
from mtk.data.streets import Size, Streets


class CityScapesData(NamedTuple):
    """The two official splits that have labels."""

    train: Streets
    val: Streets


def load_cityscapes(data_dir: str | Path, size: Size = (128, 256)) -> CityScapesData:
    """Reads CityScapes into memory.

    Args:
        data_dir: A folder with the official `leftImg8bit/`, `gtFine/` and `disparity/`, or with the
            public preprocessed `train/` and `val/`; any subset of the scenes.
        size: Height and width of a scene. The official files are resized to it, preprocessed ones
            must have it.

    Raises:
        ValueError: If there is neither, or a file is missing, damaged or not what it should be.

    Reference:
        Cordts et al., *The Cityscapes dataset for semantic urban scene understanding* (2016).
    """
    folder = Path(data_dir).expanduser()
    if (folder / cityscapes_files.FOLDERS[0]).is_dir():
        return CityScapesData(*(cityscapes_files.load(folder, s, size) for s in ("train", "val")))
    if (folder / "train" / cityscapes_arrays.FOLDERS[0]).is_dir():
        return CityScapesData(*(cityscapes_arrays.load(folder, s, size) for s in ("train", "val")))
    raise ValueError(
        f"No CityScapes at {folder}: expected the official folders "
        f"{', '.join(cityscapes_files.FOLDERS)}, or the preprocessed train and val with "
        f"{', '.join(cityscapes_arrays.FOLDERS)}."
    )
