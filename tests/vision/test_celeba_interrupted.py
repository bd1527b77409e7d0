"""Preparations that are cut off, or meet one another."""

import pathlib

import pytest
from celeba_files import check, write

from mtk.data.celeba import preparation
from mtk.data.exclusive import exclusive


class Counted:
    """Decodes, and counts; fails at one call as a killed process would."""

    def __init__(self, fails_at=None):
        self.calls, self.fails_at = 0, fails_at
        self.decode = preparation.decode

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        return self.decode(*arguments)


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(preparation, "_AT_ONCE", 3)
    monkeypatch.setattr(preparation, "_A_TASK", 1)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("at", [2, 5, 10])
def test_it_goes_on_where_it_was_cut_off(tmp_path, monkeypatch, small_groups, at, archive):
    source, out = write(tmp_path / "official", archive=archive), tmp_path / "faces"
    monkeypatch.setattr(preparation, "decode", Counted(fails_at=at))
    with pytest.raises(KeyboardInterrupt):
        preparation.prepare(str(out), str(source))
    assert not out.exists()
    # Bytes that were written but not noted.
    with (tmp_path / "unfinished.faces" / "images.npy").open("ab") as file:
        file.write(b"half a face")
    monkeypatch.undo()
    monkeypatch.setattr(preparation, "decode", counted := Counted())
    preparation.prepare(str(out), str(source))
    assert counted.calls == 10 - (at - 1) // 3 * 3
    check(out)


def test_what_was_begun_from_other_files_is_begun_anew(tmp_path, monkeypatch, small_groups):
    source, out = write(tmp_path / "official"), tmp_path / "faces"
    monkeypatch.setattr(preparation, "decode", Counted(fails_at=9))
    with pytest.raises(KeyboardInterrupt):
        preparation.prepare(str(out), str(source), size=32)
    monkeypatch.setattr(preparation, "decode", counted := Counted())
    preparation.prepare(str(out), str(source))
    assert counted.calls == 10
    check(out)


def test_a_kill_before_or_after_the_last_rename_loses_nothing(tmp_path, monkeypatch):
    source, out = write(tmp_path / "official"), tmp_path / "faces"
    rename, unlink = pathlib.Path.rename, pathlib.Path.unlink

    def killed(*_, **__):
        raise KeyboardInterrupt

    for name, function in (("rename", rename), ("unlink", unlink)):
        monkeypatch.setattr(pathlib.Path, name, killed)
        with pytest.raises(KeyboardInterrupt):
            preparation.prepare(str(out), str(source))
        monkeypatch.setattr(pathlib.Path, name, function)
        monkeypatch.setattr(preparation, "decode", None)
    preparation.prepare(str(out), str(source))
    check(out)
    assert len(list(out.iterdir())) == 4


def test_two_at_once(tmp_path):
    source, out = write(tmp_path / "official"), tmp_path / "faces"
    with (
        exclusive(tmp_path / "unfinished.faces"),
        pytest.raises(ValueError, match=r"Another process is preparing in .*unfinished\.faces"),
    ):
        preparation.prepare(str(out), str(source))
    preparation.prepare(str(out), str(source))
    check(out)
