import json
import os
import time

import numpy as np
import pytest

from mtk.data import fingerprints


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The folder of the cache, where every file counts as large and as long unchanged."""
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


def test_equal_arrays_alone_have_equal_hashes():
    found = [fingerprints.of_arrays(array) for array in ARRAYS]
    assert found == [fingerprints.of_arrays(array.copy()) for array in ARRAYS]
    assert len(set(found)) == len(ARRAYS)
    columns = np.asfortranarray(ARRAYS[1])
    assert fingerprints.of_arrays(columns) == found[1]
    assert fingerprints.of_arrays(ARRAYS[0], ARRAYS[1]) != fingerprints.of_arrays(*ARRAYS[1::-1])


def test_every_value_counts():
    array = np.zeros((5, 4), np.uint8)
    found = {fingerprints.of_arrays(array)}
    for place in np.ndindex(array.shape):
        changed = array.copy()
        changed[place] = 1
        found.add(fingerprints.of_arrays(changed))
    assert len(found) == array.size + 1


def test_a_mapped_file_is_read_once(tmp_path, cached, monkeypatch):
    path = tmp_path / "array.npy"
    np.save(path, np.arange(1000))
    array = np.load(path, mmap_mode="r")
    found = fingerprints.of_arrays(array)
    (kept,) = cached.iterdir()
    assert json.loads(kept.read_text())["path"] == str(path)
    monkeypatch.setattr(fingerprints, "sha256", lambda path: pytest.fail("read again"))
    assert fingerprints.of_arrays(array) == found
    # A part of it is read as it is.
    assert fingerprints.of_arrays(array[:500]) == fingerprints.of_arrays(np.arange(500))


def change(path, when):
    path.write_bytes(b"1235")
    os.utime(path, ns=(when, when))


def exchange(path, when):
    other = path.with_name("other")
    other.write_bytes(b"1235")
    os.utime(other, ns=(when, when))
    other.replace(path)


@pytest.mark.parametrize("changed", [change, exchange])
def test_a_change_of_equal_size_and_time_is_found(tmp_path, cached, changed):
    path = tmp_path / "file"
    path.write_bytes(b"1234")
    when = path.stat().st_mtime_ns
    found = fingerprints.of_file(path)
    assert fingerprints.of_file(path) == found
    time.sleep(0.02)  # Longer than the step of the file system's clock.
    changed(path, when)
    assert path.stat().st_mtime_ns == when
    assert fingerprints.of_file(path) != found
    (_,) = cached.iterdir()


def test_what_has_just_changed_is_not_kept(tmp_path, cached, monkeypatch):
    monkeypatch.setattr(fingerprints, "_SETTLED", 60.0)
    (tmp_path / "file").write_bytes(b"1234")
    fingerprints.of_file(tmp_path / "file")
    assert not cached.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"state": 1}'])
def test_a_damaged_cache_is_replaced(tmp_path, cached, content):
    (tmp_path / "file").write_bytes(b"1234")
    found = fingerprints.of_file(tmp_path / "file")
    (kept,) = cached.iterdir()
    before = kept.read_text()
    kept.write_text(content)
    assert fingerprints.of_file(tmp_path / "file") == found
    assert kept.read_text() == before


def test_no_place_for_a_cache_is_no_failure(tmp_path, cached):
    (tmp_path / "cache").write_text("in the way")
    (tmp_path / "file").write_bytes(b"1234")
    assert fingerprints.of_file(tmp_path / "file") == fingerprints.of_file(tmp_path / "file")
