"""The IDX file format of MNIST."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from mtk.data.bounded import MOST_BYTES, read_up_to

_UNSIGNED_BYTE = 0x08
_NUMBER_SIZE = 4  # bytes of a dimension in the header, big endian


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, plain or compressed by gzip (`.gz`).

    Args:
        path: The file.
        ndim: Required number of dimensions: 1 for labels, 3 for images.

    Returns:
        A uint8 array.

    Raises:
        ValueError: If this is not such a file, or it is truncated or too long.

    Reference:
        LeCun, Cortes & Burges, *The MNIST database of handwritten digits* (1998), file formats.
    """
    magic = bytes((0, 0, _UNSIGNED_BYTE, ndim))
    header = 4 + _NUMBER_SIZE * ndim
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header)
            if start[:4] != magic:
                raise ValueError(
                    f"{path} is not an IDX file of unsigned bytes with {ndim} dimensions: it "
                    f"starts with {start[:4].hex(' ') or 'nothing'}; expected {magic.hex(' ')}."
                )
            shape = tuple(
                int(size) for size in np.frombuffer(start[4 : len(start) // 4 * 4], ">u4")
            )
            size = int(np.prod(shape, dtype=object))
            if size > MOST_BYTES:
                raise ValueError(
                    f"{path} is damaged: its header declares an array of shape {shape}, but at "
                    f"most {MOST_BYTES:,} bytes are read. Download the file again."
                )
            content = read_up_to(file, size + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged: it cannot be decompressed ({error}). Download the file again."
        ) from error
    if len(shape) < ndim or len(content) != size:
        more = "more than " if len(content) > size else ""
        raise ValueError(
            f"{path} is damaged: it has {more}{len(start) + len(content) - bool(more)} "
            f"bytes, but its header declares {header + size}, an array of shape {shape}. "
            "Download the file again."
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
