import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from mtk.data.idx import read_idx


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["file", "file.gz"])
@pytest.mark.parametrize("shape", [(5,), (0,), (3, 4, 2), (300, 2, 2), (1, 28, 28)])
def test_round_trip(tmp_path, name, shape):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = read_idx(written(tmp_path / name, idx_bytes(array)), len(shape))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


def test_known_bytes(tmp_path):
    content = bytes.fromhex("00000803 00000001 00000002 00000003 010203 040506")
    found = read_idx(written(tmp_path / "file", content), 3)
    assert found.tolist() == [[[1, 2, 3], [4, 5, 6]]]


GOOD = idx_bytes(np.arange(6).reshape(1, 2, 3))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "starts with nothing; expected 00 00 08 03"),
        (b"\x89PNG" + GOOD[4:], "starts with 89 50 4e 47; expected 00 00 08 03"),
        (idx_bytes(np.arange(6)), "starts with 00 00 08 01; expected 00 00 08 03"),
        (b"\x00\x00\x0d\x03" + GOOD[4:], "starts with 00 00 0d 03"),
        (GOOD[:-1], r"has 21 bytes, but its header declares 22.*\(1, 2, 3\)"),
        (GOOD + b"\x00", "has more than 22 bytes, but its header declares 22"),
        (GOOD[:8], "damaged"),
        (GOOD[:10], "damaged"),
        (GOOD[:12], "damaged"),
        (GOOD[:4] + b"\xff" * 12, "damaged"),
    ],
)
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_error_for_invalid_content_names_the_file(tmp_path, name, content, message):
    path = written(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path, 3)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-9], lambda c: GOOD, lambda c: c[:12] + b"\xff" * 9]
)
def test_damaged_gzip_file_raises(tmp_path, damage):
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(GOOD)))
    with pytest.raises(ValueError, match=r"images\.gz is damaged: it cannot be decompressed"):
        read_idx(path, 3)
