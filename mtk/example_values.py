"""Contributions of each test example to a run's metrics: the file `test_examples.npz`."""

import math
import zipfile
import zlib
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

# More values are thinned out. This limit means two arrays of 16 MiB, before compression.
MOST_VALUES = 1 << 22
_KINDS = {"names": "U", "orders": "U", "sizes": "i", "values": "f", "counts": "f"}
_MOST_BYTES = 1 << 26
_DAMAGE = (ValueError, KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ExampleValues(NamedTuple):
    """Metrics that are means over the test examples, example by example.

    Attributes:
        names: `(M,)`, `<task>/<metric>`.
        orders: `(M,)`, hashes of the task's labels in the order of the examples: if they are equal,
            equal columns are the same examples.
        sizes: `(M,)`, test examples in total; if more than the columns, every n-th is kept.
        values: `(M, N)`, the metric of each single example; zero if it has no label.
        counts: `(M, N)`, its weight in the mean `sum(counts * values) / sum(counts)`.
    """

    names: np.ndarray
    orders: np.ndarray
    sizes: np.ndarray
    values: np.ndarray
    counts: np.ndarray


def save(file: Any, found: ExampleValues) -> None:
    """Writes the examples, compressed.

    Args:
        file: A path or an open file.
        found: The values; thinned out to `MOST_VALUES`.
    """
    step = max(1, -(-found.values.size // MOST_VALUES))
    np.savez_compressed(
        file,
        names=found.names.astype(str),
        orders=found.orders.astype(str),
        sizes=found.sizes.astype(np.int64),
        values=found.values[:, ::step].astype(np.float32),
        counts=found.counts[:, ::step].astype(np.float32),
    )


def read(file: IO[bytes]) -> ExampleValues:
    """Reads examples that `save` has written, or that come from others.

    Args:
        file: The open file.

    Raises:
        ValueError: If it holds something else, or more than `save` writes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            found = ExampleValues(*(_array(archive, name, kind) for name, kind in _KINDS.items()))
    except _DAMAGE as error:
        raise ValueError(f"expected the values of test examples: {error}") from None
    number = found.names.shape
    rows = found.values.shape[:1]
    if len(number) != 1 or not number == rows == found.orders.shape == found.sizes.shape:
        raise ValueError("expected arrays with one row for each metric")
    if (found.sizes < 0).any():
        raise ValueError("expected non-negative sizes of the test set")
    if found.values.ndim != 2 or found.values.shape != found.counts.shape:
        raise ValueError("expected a value and a count for each example")
    return found


def _array(archive: zipfile.ZipFile, name: str, kind: str) -> np.ndarray:
    """Returns an array of the archive, if its size matches its header."""
    with archive.open(f"{name}.npy") as file:
        size = archive.getinfo(f"{name}.npy").file_size
        if npy.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not an array of this format")
        shape, fortran, dtype = npy.read_array_header_1_0(file)
        held = math.prod(shape) * dtype.itemsize
        if dtype.kind != kind or fortran or not 0 <= held <= min(_MOST_BYTES, size):
            raise ValueError(f"{name} has the type {dtype} and {held} bytes")
        return np.frombuffer(file.read(held), dtype).reshape(shape)
