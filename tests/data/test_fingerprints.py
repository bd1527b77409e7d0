import json
import os

import numpy as np
import pytest

from mtk.data import fingerprints
from tests.waiting import until


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    """The cache folder, with thresholds that make every file large and old enough to be cached."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "_LARGE", 0)
    monkeypatch.setattr(fingerprints, "_SETTLED", -1.0)
    return tmp_path / "cache" / "mtk" / "hashes"


ARRAYS = [
    np.arange(6),
    np.arange(6).reshape(2, 3),
    np.arange(6).reshape(3, 2),
    np.arange(6, dtype=np.int32),
    np.arange(6.0),
    np.arange(7),
    np.zeros((0, 6)),
    np.array(3),
    np.array([b"ab", b"c"], object),
    np.array([b"a", b"bc"], object),
    np.array([True, False]),
]


def test_only_equal_arrays_have_equal_hashes():
    found = [fingerprints.of_arrays(array) for array in ARRAYS]
    assert found == [fingerprints.of_arrays(array.copy()) for array in ARRAYS]
    assert len(set(found)) == len(ARRAYS)
    columns = np.asfortranarray(ARRAYS[1])
    assert fingerprints.of_arrays(columns) == found[1]
    assert fingerprints.of_arrays(ARRAYS[0], ARRAYS[1]) != fingerprints.of_arrays(*ARRAYS[1::-1])


def test_every_value_changes_the_hash():
    array = np.zeros((5, 4), np.uint8)
    found = {fingerprints.of_arrays(array)}
    for place in np.ndindex(array.shape):
        changed = array.copy()
        changed[place] = 1
        found.add(fingerprints.of_arrays(changed))
    assert len(found) == array.size + 1


def test_hash_of_a_memory_mapped_file_is_cached(tmp_path, cache_folder, monkeypatch):
    path = tmp_path / "array.npy"
    np.save(path, np.arange(1000))
    array = np.load(path, mmap_mode="r")
    found = fingerprints.of_arrays(array)
    (kept,) = cache_folder.iterdir()
    assert json.loads(kept.read_text())["path"] == str(path)
    monkeypatch.setattr(fingerprints, "sha256", lambda path: pytest.fail("read again"))
    assert fingerprints.of_arrays(array) == found
    # A slice of the array is not looked up in the cache.
    assert fingerprints.of_arrays(array[:500]) == fingerprints.of_arrays(np.arange(500))


def file_system_time(folder):
    """Returns the file system's clock, whose resolution is coarse."""
    (folder / "touched").touch()
    return (folder / "touched").stat().st_ctime_ns


def change(path, when):
    path.write_bytes(b"1235")
    os.utime(path, ns=(when, when))


def replace_file(path, when):
    other = path.with_name("other")
    other.write_bytes(b"1235")
    os.utime(other, ns=(when, when))
    other.replace(path)


@pytest.mark.parametrize("changed", [change, replace_file])
def test_change_with_equal_size_and_mtime_is_detected(tmp_path, cache_folder, changed):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    when = path.stat().st_mtime_ns
    found = fingerprints.of_file(path)
    assert fingerprints.of_file(path) == found
    until(lambda: file_system_time(tmp_path) > path.stat().st_ctime_ns)
    changed(path, when)
    assert path.stat().st_mtime_ns == when
    assert fingerprints.of_file(path) != found
    (_,) = cache_folder.iterdir()


def test_recently_changed_file_is_not_cached(tmp_path, cache_folder, monkeypatch):
    monkeypatch.setattr(fingerprints, "_SETTLED", 60.0)
    (tmp_path / "file").write_bytes(b"1234")
    fingerprints.of_file(tmp_path / "file")
    assert not cache_folder.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"state": 1}'])
def test_damaged_cache_is_replaced(tmp_path, cache_folder, content):
    (tmp_path / "file").write_bytes(b"1234")
    found = fingerprints.of_file(tmp_path / "file")
    (kept,) = cache_folder.iterdir()
    before = kept.read_text()
    kept.write_text(content)
    assert fingerprints.of_file(tmp_path / "file") == found
    assert kept.read_text() == before


def test_unwritable_cache_folder_is_ignored(tmp_path, cache_folder):
    (tmp_path / "cache").write_text("in the way")
    (tmp_path / "file").write_bytes(b"1234")
    assert fingerprints.of_file(tmp_path / "file") == fingerprints.of_file(tmp_path / "file")
