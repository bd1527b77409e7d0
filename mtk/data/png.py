"""PNG files of a known encoding."""

import struct
from pathlib import Path

import numpy as np
import tensorflow as tf

from mtk.data import bounded

GREY, COLOUR = 0, 2  # a PNG's colour types
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8x4x4s2I2B")  # signature, length, chunk, size, bit depth, colour type
_MOST_PIXELS = 1 << 26  # 32 times those of CityScapes
_MOST_BYTES = 1 << 28  # of a file
_CHANNELS = {GREY: 1, COLOUR: 3}
_KINDS = {GREY: "grey", COLOUR: "RGB"}


def read_png(path: Path, bits: int, colour_type: int) -> np.ndarray:
    """Reads an image that must have a given encoding.

    A decoder would convert any encoding to the requested one: the values of an 8-bit file to 16
    bits, or the colors of a palette to gray. The file's header is therefore checked first.

    Args:
        path: The file.
        bits: Bits per channel, 8 or 16.
        colour_type: `GREY` or `COLOUR`.

    Returns:
        uint8 or uint16 `(height, width, channels)`.

    Raises:
        ValueError: If the file is missing, damaged, or of another kind.
    """
    try:
        with bounded.opened(path) as file:
            content = bounded.read(file, _MOST_BYTES, path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) < _HEADER.size or not content.startswith(_SIGNATURE):
        raise ValueError(f"{path} is not a PNG file, or it is truncated. Download the file again.")
    _, width, height, found_bits, found_type = _HEADER.unpack_from(content)
    if (found_bits, found_type) != (bits, colour_type):
        kind = _KINDS.get(found_type, f"colour type {found_type}")
        raise ValueError(
            f"{path}: expected a PNG file with {bits} bits per channel, {_KINDS[colour_type]}. "
            f"Received: {found_bits} bits, {kind}"
        )
    if width * height > _MOST_PIXELS:
        raise ValueError(
            f"{path} has {width}x{height} pixels; at most {_MOST_PIXELS:,} pixels are decoded."
        )
    dtype = tf.uint8 if bits == 8 else tf.uint16
    try:
        pixels = tf.io.decode_png(content, channels=_CHANNELS[colour_type], dtype=dtype)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{path} is damaged or truncated. Download the file again.") from error
    return pixels.numpy()
