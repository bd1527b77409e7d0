"""Decodes CelebA once, so that every run reads it at once."""

import contextlib
import hashlib
import itertools
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from mtk import atomic, cores
from mtk.data.celeba import faces
from mtk.data.celeba.decoding import decode
from mtk.data.celeba.growing_array import PROGRESS, GrowingArray
from mtk.data.celeba.listing import ATTRIBUTES, Listing
from mtk.data.celeba.official import Official
from mtk.data.celeba.tfds import FromTfds
from mtk.data.exclusive import LOCK, destination, exclusive
from mtk.status_line import StatusLine

Item = TypeVar("Item")

_AT_ONCE = 2048  # Images between two notes of how far it is.
_A_TASK = 32  # Images that a thread takes at a time.
_EVERY = 10.0  # Seconds between two lines of progress where there is no terminal.


class Source(Protocol):
    """Where the images come from.

    Attributes:
        origin: What to call it.
        listing: What the images are.
    """

    origin: str
    listing: Listing

    def encoded(self, first: int) -> Iterator[bytes]:
        """Yields the JPEG files of the listing, from the image `first` on."""
        ...


def prepare(
    folder: str,
    source: str | None = None,
    size: int = 64,
    subset: bool = False,
    tfds_dir: str | None = None,
) -> str:
    """Decodes and resizes CelebA's images, on all cores, into a folder for `open_faces`.

    A call that was cut off leaves `unfinished.<folder>` beside the folder; the same call goes on
    there. The folder itself appears when it is complete.

    Args:
        folder: The folder to write.
        source: The folder of the official files (see `Official`); None takes TensorFlow Datasets.
        size: Height and width of the prepared images.
        subset: Whether some images of the official files may be missing.
        tfds_dir: Folder of the data sets of TensorFlow Datasets, where `source` is None; its own
            default, by default.

    Returns:
        What was prepared, in words.

    Raises:
        ValueError: If an image or a file of the source is missing or damaged, the size is not
            positive, another process prepares the same folder, or the folder holds something else,
            or files that have changed since they were prepared.
        OSError: If the folder cannot be written, or the data set not be fetched.
    """
    if size < 1:
        raise ValueError(f"`size` is a number of pixels, 1 or more. Received: size={size}")
    out = destination(folder)
    images = FromTfds(tfds_dir) if source is None else Official(Path(source).expanduser(), subset)
    digest = _digest(images, size)
    if _is_prepared(out, digest):
        faces.check(out)
    else:
        unfinished = out.with_name(f"unfinished.{out.name}")
        with exclusive(unfinished):
            _decode_all(images, size, unfinished, digest)
            _complete(images, size, unfinished, digest)
            unfinished.rename(out)
    # What the work needed goes last: a process that is killed before has lost nothing.
    for name in (PROGRESS, LOCK):
        (out / name).unlink(missing_ok=True)
    faces.open_faces(out)
    counts = ", ".join(f"{number} {split}" for split, number in images.listing.counts.items())
    return f"CelebA at {size}x{size} pixels in {out}: {counts}."


def _digest(source: Source, size: int) -> str:
    """Returns what tells one preparation from another."""
    listing = source.listing
    told = [faces.FORMAT, size, listing.counts, listing.files]
    found = hashlib.sha256(json.dumps(told).encode())
    found.update(listing.attributes.tobytes())
    return found.hexdigest()


def _is_prepared(out: Path, digest: str) -> bool:
    """Whether the folder holds this preparation already; raises if it holds something else."""
    if not out.exists() or not any(out.iterdir()):
        return False  # `rename` replaces an empty folder.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        manifest: dict[str, Any] = json.loads((out / faces.MANIFEST).read_text())
        if manifest.get("digest") == digest:
            return True
    raise ValueError(
        f"{out} holds something else already: other images, or another size. Nothing was changed. "
        "Name a new folder: --out=PATH."
    )


def _decode_all(source: Source, size: int, folder: Path, digest: str) -> None:
    total = len(source.listing.files)
    threads = ThreadPoolExecutor(cores.available())
    with GrowingArray(folder, faces.IMAGES, (total, size, size, 3), digest) as array, threads:
        encoded = source.encoded(array.done)
        progress = _Progress(total, array.done)
        while array.done < total:
            names = source.listing.files[array.done : array.done + _AT_ONCE]
            pairs = zip(itertools.islice(encoded, len(names)), names, strict=True)
            tasks = [
                threads.submit(_decode_some, some, size, source.origin)
                for some in _groups(pairs, _A_TASK)
            ]
            array.append(np.concatenate([task.result() for task in tasks]))
            progress.tell(array.done)


class _Progress:
    """Tells on the standard error output how far it is, and how fast."""

    def __init__(self, total: int, done: int):
        self.total, self.first = total, done
        self.line = StatusLine(sys.stderr)
        self.started = self.told = time.monotonic()

    def tell(self, done: int) -> None:
        now = time.monotonic()
        last = done == self.total
        if last or self.line.on_terminal or now - self.told > _EVERY:
            self.told = now
            speed = (done - self.first) / max(now - self.started, 1e-9)
            text = f"{done} of {self.total} images, {speed:.0f} a second"
            bar = self.line.bar(done / self.total)
            self.line.show(f"{bar}{text}", stays=last or not self.line.on_terminal)


def _groups(items: Iterator[Item], number: int) -> Iterator[list[Item]]:
    while some := list(itertools.islice(items, number)):
        yield some


def _decode_some(pairs: list[tuple[bytes, str]], size: int, origin: str) -> np.ndarray:
    return np.stack([decode(encoded, f"{name} of {origin}", size) for encoded, name in pairs])


def _complete(source: Source, size: int, folder: Path, digest: str) -> None:
    """Writes what stands beside the images, the manifest last."""
    listing = source.listing
    np.save(folder / faces.LABELS, listing.attributes)
    (folder / faces.FILES).write_text("".join(f"{file}\n" for file in listing.files))
    manifest = {
        "format": faces.FORMAT,
        "origin": source.origin,
        "digest": digest,
        "size": size,
        "counts": listing.counts,
        "attributes": list(ATTRIBUTES),
        "sha256": {name: faces.checksum(folder / name) for name in faces.ARRAYS},
    }
    atomic.write_json(folder / faces.MANIFEST, manifest)
    atomic.flush(folder)
