"""Writes files in CityScapes' official layout and encoding, with an independent PNG encoder."""

import struct
import zlib
from pathlib import Path

import numpy as np


def png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 or uint16 pixels, grey `(height, width)` or RGB, as PNG."""
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">2I5B", width, height, 8 * pixels.itemsize, colour_type, 0, 0, 0)

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def paths(folder: Path, split: str, name: str) -> dict[str, Path]:
    """Returns the files of a scene such as "ulm_000001_000019"."""
    city = name.split("_")[0]
    return {
        "image": folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png",
        "label": folder / "gtFine" / split / city / f"{name}_gtFine_labelIds.png",
        "disparity": folder / "disparity" / split / city / f"{name}_disparity.png",
    }


def write(folder: Path, split: str, name: str, **pixels: np.ndarray) -> None:
    """Writes the given files of a scene."""
    found = paths(folder, split, name)
    for kind, values in pixels.items():
        found[kind].parent.mkdir(parents=True, exist_ok=True)
        found[kind].write_bytes(png(values))
