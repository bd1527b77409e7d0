"""Preparation from TensorFlow Datasets' `celeb_a`, which its own builder makes from local files."""

import io
import sys
import zipfile

import pytest
from celeba_files import NAMES, PARTITION, colours, file_name, has, write
from test_celeba_preparation import NUMBERS

from mtk.data.celeba import open_arrays, preparation

tfds = pytest.importorskip("tensorflow_datasets")

_POINTS = (
    "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x "
    "rightmouth_y"
)


class Downloads:
    """A download manager that returns local files."""

    downloaded_size = 0

    def __init__(self, folder):
        self.folder = folder

    def download(self, addresses):
        endings = {"img_align_celeba": ".zip"}
        return {name: self.folder / f"{name}{endings.get(name, '.txt')}" for name in addresses}

    def iter_archive(self, path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, io.BytesIO(archive.read(name))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A TFDS data directory with `celeb_a`, built from ten faces."""
    official = write(tmp_path_factory.mktemp("official"), archive=True)
    names = [file_name(n) for n in range(len(PARTITION))]
    points = "".join(f"{name} {' '.join('0' * 10)}\n" for name in names)
    (official / "landmarks_celeba.txt").write_text(f"{len(names)}\n{_POINTS}\n{points}")
    (official / "identity_celeba.txt").write_text("".join(f"{name} 1\n" for name in names))
    folder = tmp_path_factory.mktemp("tfds")
    builder = tfds.builder("celeb_a", data_dir=folder)
    builder._make_download_manager = lambda **_: Downloads(official)
    builder.download_and_prepare()
    return folder


def labels_of(folder):
    """Returns the faces of each split as `{number: labels}`, as the builder shuffles them."""
    numbers = {}
    for split, faces in open_arrays(folder).items():
        for face, labels in zip(*faces, strict=True):
            left, right = face[0, 0].astype(int), face[0, -1].astype(int)
            errors = [
                abs(left - colours(n)[0]).sum() + abs(right - colours(n)[1]).sum()
                for n in range(len(PARTITION))
            ]
            assert min(errors) <= 12
            numbers.setdefault(split, {})[errors.index(min(errors))] = labels.tolist()
    return numbers


@pytest.fixture(scope="module")
def whole(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "faces"
    said = preparation.prepare(str(folder), tfds_dir=str(data_dir))
    assert "6 train, 2 validation, 2 test" in said
    return folder


def test_splits_and_attributes_are_the_official_ones(whole):
    faces = labels_of(whole)
    assert {split: sorted(numbers) for split, numbers in faces.items()} == NUMBERS
    for numbers in faces.values():
        for number, labels in numbers.items():
            assert labels == [has(number, column) for column in range(len(NAMES))]


def test_failed_download_raises(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise tfds.download.DownloadError("no network")

    builder = tfds.builder_cls("celeb_a")
    monkeypatch.setattr(builder, "download_and_prepare", refuse)
    with pytest.raises(
        OSError, match=r"could not download celeb_a.*no network.*`source`.*`tfds_dir`"
    ):
        preparation.prepare(str(tmp_path / "faces"), tfds_dir=str(tmp_path / "none"))
    assert not (tmp_path / "faces").exists()


def test_missing_tfds_raises(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install -e '.*\[tfds\]'"):
        preparation.prepare(str(tmp_path / "faces"))
