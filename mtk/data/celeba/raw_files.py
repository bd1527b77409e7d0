"""CelebA's official files."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mtk.data import bounded
from mtk.data.celeba.annotations import Annotations, arranged, read_attributes, read_partition

_IMAGES = "img_align_celeba"
_ATTRIBUTES = "list_attr_celeba.txt"
_PARTITION = "list_eval_partition.txt"
# The files may be in one folder, or in the folders of the official download.
_LARGEST = 1 << 20  # bytes of an image; those of CelebA have at most 30,000
_FOLDERS = (".", "Img", "Anno", "Eval")


class RawFiles:
    """The aligned images, their attributes and the official partition.

    Args:
        folder: Contains `img_align_celeba.zip` or the folder `img_align_celeba`, and
            `list_attr_celeba.txt` and `list_eval_partition.txt`; directly or in its folders `Img`,
            `Anno` and `Eval`.
        subset: Whether some of the listed images may be missing; these are skipped.

    Attributes:
        origin: Path of the images.
        annotations: Their annotations.

    Raises:
        ValueError: If a file or an image is missing, damaged, or not listed.

    Reference:
        Liu et al., *Deep learning face attributes in the wild* (2015).
    """

    def __init__(self, folder: Path, subset: bool = False):
        attributes, partition = _find(folder, _ATTRIBUTES), _find(folder, _PARTITION)
        images = _find(folder, f"{_IMAGES}.zip", _IMAGES)
        self.origin = str(images)
        self._archive = _opened(images) if images.is_file() else None
        self._paths = _in_archive(self._archive) if self._archive else _in_folder(images)
        self.annotations = self._listed(attributes, partition, subset)

    def encoded(self) -> Iterator[bytes]:
        """Yields the JPEG files listed in the annotations.

        Raises:
            ValueError: If the archive is damaged.
        """
        for file in self.annotations.files:
            path = self._paths[file]
            if self._archive is None:
                yield _read(Path(path))
            else:
                yield _extracted(self._archive, path)

    def _listed(self, attributes: Path, partition: Path, subset: bool) -> Annotations:
        files, labels = read_attributes(attributes)
        splits = read_partition(partition)
        _check_known(f"{self.origin} has", self._paths, dict.fromkeys(files), attributes)
        _check_known(f"{attributes} lists", files, splits, partition)
        missing = [file for file in files if file not in self._paths]
        if missing and not subset:
            raise ValueError(
                f"{len(missing)} of the {len(files)} images listed in {attributes} are "
                f"missing in {self.origin}, the first of them {missing[0]}. Download them, or "
                "set `subset = True` to leave them out."
            )
        kept = np.flatnonzero([file in self._paths for file in files])
        if not kept.size:
            raise ValueError(f"{self.origin} contains no image listed in {attributes}.")
        names = [files[i] for i in kept]
        return arranged(names, labels[kept], np.array([splits[name] for name in names]))


def _find(folder: Path, *names: str) -> Path:
    paths = [folder / inner / name for name in names for inner in _FOLDERS]
    for path in paths:
        if path.exists():
            return path
    raise ValueError(
        f"CelebA's {' or '.join(names)} is missing in {folder}. Expected in this folder, or in "
        f"its subfolders Img, Anno and Eval: {_IMAGES}.zip or {_IMAGES}/, {_ATTRIBUTES}, "
        f"{_PARTITION}."
    )


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is damaged: it cannot be read as an archive ({error}). Download the file "
            "again."
        ) from error


def _in_archive(archive: zipfile.ZipFile) -> dict[str, str]:
    return _images({name.rsplit("/", 1)[-1]: name for name in archive.namelist()})


def _in_folder(folder: Path) -> dict[str, str]:
    return _images({path.name: str(path) for path in folder.iterdir()})


def _images(paths: dict[str, str]) -> dict[str, str]:
    # macOS adds a file "._<name>" for each file that it packs or copies.
    return {n: path for n, path in paths.items() if n.endswith(".jpg") and not n.startswith("._")}


def _read(path: Path) -> bytes:
    with bounded.opened(path) as file:
        return bounded.read(file, _LARGEST, path)


def _extracted(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as file:
            return bounded.read(file, _LARGEST, f"{name} of {archive.filename}")
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(
            f"{archive.filename} is damaged: {name} cannot be read ({error}). Download the file "
            "again."
        ) from error


def _check_known(
    what: str, names: "list[str] | Mapping[str, str]", known: Mapping[str, object], path: Path
) -> None:
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ValueError(f"{what} {unknown}, which {path} does not list. Download the files again.")
