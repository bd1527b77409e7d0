"""Predictions for the test inputs, batch by batch: the file `test_predictions.npz`."""

import math
import zipfile
import zlib
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

# Batch size, independent of that of a step: the scorer reads the labels in the same batches.
BATCH = 32
# With more numbers, every second batch is kept, every fourth, and so on: 128 MiB.
MOST_VALUES = 1 << 25
_MOST_TASKS = 2_000
_MOST_BATCHES = 1 << 20
_MOST_RANK = 8
_DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Predictions(NamedTuple):
    """The predictions of a run for its test split, without labels.

    Attributes:
        every: The value n if every n-th batch is kept, in order.
        parts: By task, an array `(B, ...)` for each of these batches.
    """

    every: int
    parts: dict[str, list[np.ndarray]]


class Collector:
    """Collects predictions, and thins them out if there are too many.

    Args:
        most: Maximum number of values to keep.
    """

    def __init__(self, most: int = MOST_VALUES):
        self._most = most
        self._every = 1
        self._seen = 0
        self._kept: list[dict[str, np.ndarray]] = []

    @property
    def wants(self) -> bool:
        """Whether the next batch is kept."""
        return self._seen % self._every == 0

    def add(self, found: dict[str, np.ndarray] | None) -> None:
        """Adds the next batch.

        Args:
            found: Its predictions by task; None if it is not kept.
        """
        if self.wants and found is not None:
            self._kept.append({n: np.asarray(v, np.float32) for n, v in found.items()})
        self._seen += 1
        while sum(v.size for each in self._kept for v in each.values()) > self._most:
            if len(self._kept) == 1:
                raise ValueError(
                    f"A batch of {BATCH} examples has more than {self._most:,} predictions, the "
                    "limit of a sealed test. Predict smaller outputs."
                )
            self._kept, self._every = self._kept[::2], 2 * self._every

    @property
    def predictions(self) -> Predictions:
        """The kept predictions."""
        names = list(self._kept[0]) if self._kept else []
        return Predictions(self._every, {n: [each[n] for each in self._kept] for n in names})


def save(file: Any, found: Predictions) -> None:
    """Writes predictions, compressed.

    Args:
        file: A path or an open file.
        found: The predictions.
    """
    arrays = {"names": np.array(list(found.parts), str), "every": np.array([found.every])}
    for number, parts in enumerate(found.parts.values()):
        flat = [np.zeros(0, np.float32), *(part.ravel() for part in parts)]
        arrays[f"values{number}"] = np.concatenate(flat)
        arrays[f"shapes{number}"] = np.array([part.shape for part in parts], np.int64)
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(file: IO[bytes]) -> Predictions:
    """Reads predictions that `save` has written, or that come from others.

    Nothing is unpickled, and no more is read than `save` writes.

    Args:
        file: The open file.

    Raises:
        ValueError: If it holds something else.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = _array(archive, "names", "U", _MOST_TASKS).tolist()
            every = int(_array(archive, "every", "i", 1)[0])
            left = MOST_VALUES
            parts: dict[str, list[np.ndarray]] = {}
            for number, name in enumerate(names):
                values = _array(archive, f"values{number}", "f", left)
                left -= values.size
                shapes = _array(archive, f"shapes{number}", "i", _MOST_BATCHES * _MOST_RANK)
                parts[name] = _split(values, shapes)
    except _DAMAGE as error:
        raise ValueError(f"expected predictions: {error}") from None
    if len(parts) != len(names) or not parts or every < 1:
        raise ValueError("expected predictions of tasks, each named once")
    if len({len(own) for own in parts.values()}) > 1:
        raise ValueError("expected the same number of batches for each task")
    return Predictions(every, parts)


def _split(values: np.ndarray, shapes: np.ndarray) -> list[np.ndarray]:
    """Returns the arrays of batches whose shapes are the rows of `shapes`."""
    if shapes.ndim != 2 or not 1 <= shapes.shape[1] <= _MOST_RANK or (shapes < 0).any():
        raise ValueError("expected one shape for each batch")
    sizes = [math.prod(map(int, shape)) for shape in shapes]
    if sum(sizes) != values.size or (shapes[:, 0] > BATCH).any():
        raise ValueError("expected shapes that match the values")
    ends = np.cumsum([0, *sizes])
    pairs = zip(ends[:-1], ends[1:], shapes, strict=True)
    return [values[start:end].reshape(shape) for start, end, shape in pairs]


def _array(archive: zipfile.ZipFile, name: str, kind: str, most: int) -> np.ndarray:
    """Returns an array of the archive, if its size matches its header and is not too large."""
    with archive.open(f"{name}.npy") as file:
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not an array of this format")
        shape, fortran, dtype = npy.read_array_header_1_0(file)
        held = math.prod(shape) * dtype.itemsize
        if dtype.kind != kind or fortran or not 0 <= math.prod(shape) <= most:
            raise ValueError(f"{name} has the type {dtype} and the shape {shape}")
        if dtype.itemsize > (1 << 12) or held > archive.getinfo(f"{name}.npy").file_size:
            raise ValueError(f"{name} is shorter than declared in its header")
        return np.frombuffer(file.read(held), dtype).reshape(shape)
