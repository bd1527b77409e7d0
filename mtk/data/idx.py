"""The IDX file format of MNIST."""

import gzip
import zlib
from pathlib import Path

import numpy as np

_UNSIGNED_BYTE = 0x08
_NUMBER_SIZE = 4  # bytes of a dimension in the header, big endian


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, plain or compressed by gzip (`.gz`).

    Args:
        path: The file.
        ndim: How many dimensions it must have: 1 for labels, 3 for images.

    Returns:
        A uint8 array.

    Raises:
        ValueError: If this is not such a file, or it is cut short or too long.

    Reference:
        LeCun, Cortes & Burges, *The MNIST database of handwritten digits* (1998), file formats.
    """
    content = _content(path)
    magic = bytes((0, 0, _UNSIGNED_BYTE, ndim))
    if content[:4] != magic:
        raise ValueError(
            f"{path} is not an IDX file of unsigned bytes in {ndim} dimensions: it begins with "
            f"{content[:4].hex(' ') or 'nothing'}, expected {magic.hex(' ')}."
        )
    header = 4 + _NUMBER_SIZE * ndim
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(shape) < ndim or len(content) != expected:
        raise ValueError(
            f"{path} is damaged: it holds {len(content)} bytes, but its header announces "
            f"{expected}, an array of shape {shape}. Fetch the file again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _content(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged: it cannot be decompressed ({error}). Fetch the file again."
        ) from error
