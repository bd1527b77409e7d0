"""Decodes CelebA once, so that every run loads it instantly."""

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mtk import atomic, resources
from mtk.data.celeba import arrays
from mtk.data.celeba.annotations import ATTRIBUTES, Annotations
from mtk.data.celeba.decoding import decode
from mtk.data.celeba.raw_files import RawFiles
from mtk.data.celeba.tfds import FromTfds
from mtk.data.fingerprints import sha256
from mtk.display import Meter
from mtk.places import destination
from mtk.ranges import check_count

_AT_ONCE = 2048  # Images in memory at a time.


class Source(Protocol):
    """A source of images.

    Attributes:
        origin: Its name.
        annotations: Annotations of the images.
    """

    origin: str
    annotations: Annotations

    def encoded(self) -> Iterator[bytes]:
        """Yields the JPEG files listed in the annotations."""
        ...


def prepare(
    folder: str,
    source: str | None = None,
    size: int = 64,
    subset: bool = False,
    tfds_dir: str | None = None,
) -> str:
    """Decodes and resizes CelebA's images, on all cores, into a folder for `open_arrays`.

    This takes a minute or two for all images; the folder appears only when it is complete.

    Args:
        folder: The folder to write.
        source: The folder of the official files (see `RawFiles`); None for TensorFlow Datasets.
        size: Height and width of the prepared images.
        subset: Whether some images of the official files may be missing.
        tfds_dir: Data folder of TensorFlow Datasets, if `source` is None; its default if None.

    Returns:
        A text that describes the result.

    Raises:
        ValueError: If an image or a file of the source is missing or damaged, the size is not
            positive, or the folder holds other files, or files changed since they were prepared.
        OSError: If the folder cannot be written, or the dataset cannot be downloaded.
    """
    check_count(size=size)
    out = destination(folder)
    images = FromTfds(tfds_dir) if source is None else RawFiles(Path(source).expanduser(), subset)
    digest = _digest(images, size)
    if _is_prepared(out, digest):
        arrays.check(out)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic.making_folder(out) as unfinished:
            _decode_all(images, size, unfinished / arrays.IMAGES)
            _complete(images, size, unfinished, digest)
    arrays.open_arrays(out)
    counts = ", ".join(f"{number} {split}" for split, number in images.annotations.counts.items())
    return f"CelebA at {size}x{size} pixels in {out}: {counts}."


def _digest(source: Source, size: int) -> str:
    """Returns a digest that identifies the preparation."""
    annotations = source.annotations
    told = [arrays.FORMAT, size, annotations.counts, annotations.files]
    found = hashlib.sha256(json.dumps(told).encode())
    found.update(annotations.attributes.tobytes())
    return found.hexdigest()


def _is_prepared(out: Path, digest: str) -> bool:
    """Whether the folder holds this preparation; raises an error if it holds something else."""
    if not out.exists() or not any(out.iterdir()):
        return False  # `rename` replaces an empty folder.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        manifest: dict[str, Any] = json.loads((out / arrays.MANIFEST).read_text())
        if manifest.get("digest") == digest:
            return True
    raise ValueError(
        f"{out} already contains other images, or images of another size. Nothing was changed. "
        "Give a new folder: --out=PATH."
    )


def _decode_all(source: Source, size: int, path: Path) -> None:
    names = source.annotations.files
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(names), size, size, 3)}
    pairs, meter = zip(source.encoded(), names, strict=True), Meter("images", len(names))

    def decoded(pair: tuple[bytes, str]) -> bytes:
        return decode(pair[0], f"{pair[1]} of {source.origin}", size).tobytes()

    # As a file, not a memory map, where a full disk would end the process without an error.
    with path.open("wb") as file, ThreadPoolExecutor(resources.cpu_count()) as threads:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(names), _AT_ONCE):
            file.writelines(threads.map(decoded, itertools.islice(pairs, _AT_ONCE)))
            meter.add(min(_AT_ONCE, len(names) - first))


def _complete(source: Source, size: int, folder: Path, digest: str) -> None:
    """Writes the other files, the manifest last."""
    annotations = source.annotations
    np.save(folder / arrays.LABELS, annotations.attributes)
    (folder / arrays.FILES).write_text("".join(f"{file}\n" for file in annotations.files))
    manifest = {
        "format": arrays.FORMAT,
        "origin": source.origin,
        "digest": digest,
        "size": size,
        "counts": annotations.counts,
        "attributes": list(ATTRIBUTES),
        "sha256": {name: sha256(folder / name) for name in arrays.ARRAYS},
    }
    atomic.write_json(folder / arrays.MANIFEST, manifest)
