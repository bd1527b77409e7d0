import gzip
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mtk.data.mnist import load_mnist

FILES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
# A bare NPY array, with the wrong file name.
NPY = b"\x93NUMPY\x01\x00" + struct.pack("<H", 56)
NPY += b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}".ljust(55) + b"\n\x07"


def arrays() -> list[np.ndarray]:
    """Returns images and labels of seven training and three test digits."""
    generator = np.random.default_rng(0)
    return [
        array
        for number in (7, 3)
        for array in (
            generator.integers(0, 256, (number, 28, 28)).astype(np.uint8),
            generator.integers(0, 10, number).astype(np.uint8),
        )
    ]


def folder(path: Path, contents: list[np.ndarray], suffix: str = "") -> Path:
    for name, array in zip(FILES, contents, strict=True):
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        content = header + array.tobytes()
        (path / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return path


def npz(path: Path, contents: list[np.ndarray]) -> Path:
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(path / "mnist.npz", **dict(zip(names, contents, strict=True)))
    return path / "mnist.npz"


def check(mnist, contents: list[np.ndarray]) -> None:
    found = [mnist.train.images, mnist.train.labels, mnist.test.images, mnist.test.labels]
    for array, expected in zip(found, contents, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert [array.dtype for array in found] == [np.uint8, np.int32] * 2


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder(tmp_path, suffix):
    check(load_mnist(str(folder(tmp_path, arrays(), suffix))), arrays())


def test_npz(tmp_path):
    check(load_mnist(str(npz(tmp_path, arrays()))), arrays())


def test_tfds_with_fake_load(monkeypatch):
    """Fake `load` and `as_numpy` have TFDS' signatures: nothing is downloaded."""
    contents = arrays()
    splits = {"train": contents[:2], "test": contents[2:]}

    def load(name, *, split, batch_size):
        assert name == "mnist"
        assert batch_size > 4
        images, labels = splits[split]
        whole = {"image": images[..., np.newaxis], "label": labels.astype(np.int64)}
        for part in (slice(0, 2), slice(2, None)):
            yield {key: array[part] for key, array in whole.items()}

    stand_in = SimpleNamespace(load=load, as_numpy=lambda batch: batch)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", stand_in)
    check(load_mnist(), contents)


def test_tfds_with_real_load():
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5):
        mnist = load_mnist()
    assert mnist.train.images.shape == mnist.test.images.shape == (5, 28, 28)
    assert mnist.train.labels.shape == (5,)


def test_missing_tfds_raises(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install -e '.*\[tfds\]'"):
        load_mnist()


@pytest.mark.parametrize("name", ["nowhere", "nowhere.npz"])
def test_missing_path_raises(tmp_path, name):
    with pytest.raises(ValueError, match=f"No MNIST at .*{name}: expected a folder.*{FILES[0]}"):
        load_mnist(str(tmp_path / name))


@pytest.mark.parametrize("name", FILES)
def test_missing_file_raises(tmp_path, name):
    (folder(tmp_path, arrays()) / name).unlink()
    with pytest.raises(ValueError, match=f"{name} .*is missing in {tmp_path}"):
        load_mnist(str(tmp_path))


def _wrong_label(contents):
    contents[1][4] = 10


def _too_few_labels(contents):
    contents[3] = contents[3][:2]


def _wrong_size(contents):
    contents[2] = contents[2][:, :27]


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (_wrong_label, "train.*digits from 0 to 9. Received: 10 at position 4"),
        (_too_few_labels, r"(t10k|test).*each of the 3 images. Received labels of shape \(2,\)"),
        (_wrong_size, r"(t10k|test).*\(N, 28, 28\). Received: uint8 \(3, 27, 28\)"),
    ],
)
@pytest.mark.parametrize("write", [folder, npz])
def test_invalid_arrays_raise(tmp_path, write, corrupt, message):
    contents = arrays()
    corrupt(contents)
    path = write(tmp_path, contents)
    with pytest.raises(ValueError, match=message) as error:
        load_mnist(str(path))
    assert str(tmp_path) in str(error.value)


def test_npz_file_without_the_arrays_raises(tmp_path):
    np.savez(tmp_path / "other.npz", x_train=np.zeros(1), images=np.zeros(1))
    with pytest.raises(ValueError, match=r"other.npz lacks the arrays \['x_test', 'y_test', 'y_tr"):
        load_mnist(str(tmp_path / "other.npz"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short", NPY])
def test_unreadable_npz_file_raises(tmp_path, content):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"mnist.npz is not a readable .npz file"):
        load_mnist(str(tmp_path / "mnist.npz"))
