"""Small files that would expand to very large ones raise an error without being expanded."""

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mtk import records
from mtk.bench.labels import read_labels
from mtk.checkpoints import DamagedError, Snapshot
from mtk.data import bounded
from mtk.data.celeba.annotations import read_partition
from mtk.data.celeba.decoding import decode
from mtk.data.celeba.raw_files import _extracted, _read
from mtk.data.cityscapes_arrays import _array
from mtk.data.idx import read_idx
from mtk.data.mnist import load_mnist
from mtk.data.png import COLOUR, read_png
from mtk.data.translation.readers.base import lines
from mtk.data.translation.readers.parquet import ParquetFiles
from mtk.errors import StudyError

MIB = 1 << 20


@pytest.fixture
def memory_limit():
    """Fails a test that uses more than 40 MiB at any time."""
    tracemalloc.start()
    yield
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 40 * MIB


def zeros(number):
    """Returns a gzip file of `number` MiB of zeros, built without allocating them."""
    packer = zlib.compressobj(wbits=31)
    block = bytes(MIB)
    return b"".join([*(packer.compress(block) for _ in range(number)), packer.flush()])


def header_of_npy(shape, dtype="|u1"):
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def jpeg(width, height):
    """A small JPEG file whose header declares another size."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("size", [(65500, 65500), (20000, 20000), (12000, 12000), (300, 218)])
def test_jpeg_with_a_huge_declared_size_raises(memory_limit, size):
    with pytest.raises(ValueError, match=r"the\.jpg"):
        decode(jpeg(*size), "the.jpg", 64)


@pytest.mark.parametrize("size", [(1 << 31) - 1, 100_000])
def test_png_with_a_huge_declared_size_raises(memory_limit, tmp_path, size):
    head = b"IHDR" + struct.pack(">2I5B", size, size, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head
    (tmp_path / "the.png").write_bytes(content + struct.pack(">I", zlib.crc32(head)))
    with pytest.raises(ValueError, match=r"the\.png has \d+x\d+ pixels"):
        read_png(tmp_path / "the.png", 8, COLOUR)


@pytest.mark.parametrize("ends", [True, False])
def test_gzip_file_with_a_huge_line(memory_limit, tmp_path, ends):
    path = tmp_path / "text.en.gz"
    path.write_bytes(gzip.compress(b"good\n") + zeros(200) + ends * gzip.compress(b"\ngood\n"))
    found = lines(path)
    assert next(found) == b"good"
    with pytest.raises(ValueError, match=r"text\.en\.gz, line 2 has more than"):
        next(found)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_gzip_file_with_endless_short_lines(memory_limit, tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(bounded, "_MOST_TEXT", MIB // 4)
    path = tmp_path / "text.en.gz"
    path.write_bytes(gzip.compress(b"ten bytes\n" * 100_000))
    allowed = max(MIB // 4, 100 * path.stat().st_size)
    with pytest.raises(ValueError, match=rf"text\.en\.gz, line {allowed // 10 + 1}: .*100 times"):
        all(lines(path, encoding))


def test_line_of_maximal_length_is_read(tmp_path):
    path = tmp_path / "text.en"
    longest = b"x" * (bounded.LONGEST_LINE - 1)
    path.write_bytes(longest + b"\n" + longest + b"\nshort")
    assert [len(line) for line in lines(path)] == [len(longest), len(longest), 5]


def test_list_of_faces_with_a_huge_line(memory_limit, tmp_path):
    (tmp_path / "list.txt").write_bytes(b"000001.jpg 0\n" + bytes(8 * MIB))
    with pytest.raises(ValueError, match=r"list\.txt, line 2"):
        read_partition(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("shape", "held"),
    [((1 << 31, 1 << 31, 1 << 31), 5), ((60_000, 28, 28), 5), ((1, 28, 28), 100)],
)
def test_idx_files_that_contradict_their_header(memory_limit, tmp_path, shape, held):
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(head) + zeros(held))
    with pytest.raises(ValueError, match=r"images\.gz is damaged"):
        read_idx(path, 3)


def test_pipes_and_devices_raise_without_blocking(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for read in (lambda path: read_png(path, 8, COLOUR), read_partition, bounded.opened):
        for path in (pipe, Path("/dev/zero")):
            with pytest.raises(ValueError, match=f"{path} is a device or a pipe, not a file"):
                read(path)


def npz(path, **parts):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        header_of_npy((1 << 40,)),
        header_of_npy((1 << 20, 1 << 20, 1 << 20)) + bytes(100),
        header_of_npy((10,), "<f8") + bytes(10),
        header_of_npy((1,), "|O"),
        b"\x93NUMPY\x09\x00",
        b"no array",
        b"",
    ],
)
def test_npz_entries(memory_limit, tmp_path, content):
    path = npz(tmp_path / "mnist.npz", x_train=content)
    with pytest.raises(ValueError, match=r"mnist\.npz"):
        load_mnist(str(path))


def test_large_npz_entry_raises(memory_limit, tmp_path):
    path = npz(tmp_path / "mnist.npz", x_train=header_of_npy((2 * MIB,)) + bytes(2 * MIB))
    with pytest.raises(ValueError, match=r"mnist\.npz \(x_train\) declares"):
        bounded.read_npz(path, most=MIB)


def test_unused_npz_entries_are_not_decompressed(memory_limit, tmp_path):
    path = npz(tmp_path / "mnist.npz", other=header_of_npy((80 * MIB,)) + bytes(8 * MIB))
    assert bounded.read_npz(path, ["x_train"]) == {}


def test_scene_array_that_contradicts_its_header(memory_limit, tmp_path):
    (tmp_path / "1.npy").write_bytes(header_of_npy((1 << 40,)) + bytes(100))
    with pytest.raises(ValueError, match=r"1\.npy"):
        _array(tmp_path / "1.npy", (2, 2))


def test_too_large_images_in_an_archive_and_in_a_folder(memory_limit, tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000001.jpg", bytes(16 * MIB))
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(ValueError, match=r"000001\.jpg of .*images\.zip"),
    ):
        _extracted(archive, "000001.jpg")
    (tmp_path / "000001.jpg").write_bytes(bytes(16 * MIB))
    with pytest.raises(ValueError, match=r"000001\.jpg"):
        _read(tmp_path / "000001.jpg")


def test_parquet_with_huge_sentences(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "text.parquet"
    for length, good in ((3, True), (4 * MIB, False)):
        rows = [{"en": "x" * length, "fr": "y"}]
        parquet.write_table(pa.table({"translation": rows}), path)
        names = [path.name]
        reader = ParquetFiles(names, names, names, "fr", folder=str(tmp_path))
        if good:
            assert list(reader.pairs("train")) == [(b"xxx", b"y")]
        else:
            with pytest.raises(ValueError, match=r"text\.parquet: 1 rows take"):
                list(reader.pairs("train"))


def test_parquet_that_repeats_one_long_sentence(memory_limit, tmp_path):
    """A file of 0.3 MB stores the sentence once; all rows together would take 600 MB."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    long = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), ["x" * 300_000])
    struct = pa.StructArray.from_arrays([long, pa.array(["y"] * 2_000)], ["en", "fr"])
    parquet.write_table(pa.table({"translation": struct}), tmp_path / "text.parquet")
    reader = ParquetFiles(*[["text.parquet"]] * 3, "fr", folder=str(tmp_path))
    assert sum(len(ours) for ours, _ in reader.pairs("train")) == 2_000 * 300_000


@pytest.mark.parametrize("content", [header_of_npy((1 << 40,)), header_of_npy((64 * MIB,))])
def test_labels_and_checkpoints_shorter_than_declared(memory_limit, tmp_path, content):
    npz(tmp_path / "variables.npz", x=content + bytes(8 * MIB))
    with pytest.raises(StudyError, match=r"variables\.npz \(x\) declares"):
        read_labels(tmp_path / "variables.npz", [], ["x"])
    (tmp_path / "state.json").write_text("{}")
    sums = (f"{records.digest(tmp_path / n)}  {n}\n" for n in ("state.json", "variables.npz"))
    (tmp_path / "SHA256SUMS").write_text("".join(sums))
    with pytest.raises(DamagedError, match=r"variables\.npz \(x\) declares"):
        Snapshot.load(tmp_path)
