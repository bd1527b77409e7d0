"""PNG files of a known kind."""

import struct
from pathlib import Path

import numpy as np
import tensorflow as tf

GREY, COLOUR = 0, 2  # a PNG's colour types
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8x4x4s2I2B")  # signature, length, chunk, size, bit depth, colour type
_CHANNELS = {GREY: 1, COLOUR: 3}
_KINDS = {GREY: "grey", COLOUR: "RGB"}


def read_png(path: Path, bits: int, colour_type: int) -> np.ndarray:
    """Reads an image whose encoding has to be a certain one.

    A decoder would turn any kind into the one that is asked for: the values of an 8-bit file into
    16 bits, or the colours of a palette into grey. So the file's header is looked at first.

    Args:
        path: The file.
        bits: Bits of a channel, 8 or 16.
        colour_type: `GREY` or `COLOUR`.

    Returns:
        uint8 or uint16 `(height, width, channels)`.

    Raises:
        ValueError: If the file is missing, damaged, or of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) < _HEADER.size or not content.startswith(_SIGNATURE):
        raise ValueError(f"{path} is no PNG file, or it is cut short. Fetch the file again.")
    _, _, _, found_bits, found_type = _HEADER.unpack_from(content)
    if (found_bits, found_type) != (bits, colour_type):
        kind = _KINDS.get(found_type, f"colour type {found_type}")
        raise ValueError(
            f"{path}: expected a PNG file with {bits} bits a channel, {_KINDS[colour_type]}. "
            f"Received: {found_bits} bits, {kind}"
        )
    dtype = tf.uint8 if bits == 8 else tf.uint16
    try:
        pixels = tf.io.decode_png(content, channels=_CHANNELS[colour_type], dtype=dtype)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(f"{path} is damaged or cut short. Fetch the file again.") from error
    return pixels.numpy()
