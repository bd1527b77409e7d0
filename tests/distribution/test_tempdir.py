import os
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from mtk import locks
from mtk.experiment.tempdir import temporary_folder


def leave():
    """Uses a folder in a process of its own, which is killed."""
    child = os.fork()
    if child == 0:
        with temporary_folder("test-") as folder:
            (folder / "file").write_text("content")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def own(place):
    return place / f"mtk-{os.getuid()}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_removed_whatever_happens_inside(place):
    def fail():
        with temporary_folder("test-") as folder:
            (folder / "file").write_text("content")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(own(place).iterdir())


def test_only_folders_of_killed_processes_are_removed(place):
    leave()
    (left,) = own(place).iterdir()
    (own(place) / "test-of-others").mkdir()
    with temporary_folder("test-") as first, temporary_folder("test-") as second:
        assert first != second
        assert not left.exists()
        assert first.exists()
        assert (own(place) / "test-of-others").exists()


def test_nobody_else_can_use_the_folder_or_its_lock(place):
    before = os.umask(0)
    try:
        with temporary_folder("test-") as folder:
            for path, mode in ((own(place), 0o700), (folder, 0o700), (folder / "lock", 0o600)):
                assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def everybodys(path):
    path.mkdir()
    path.chmod(0o777)


def link(path):
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def anothers(path):
    path.mkdir(mode=0o700)
    try:
        os.chown(path, os.getuid() + 1, -1)
    except PermissionError:
        pytest.skip("only root can give a folder away")


@pytest.mark.parametrize("make", [everybodys, link, anothers, Path.touch])
def test_what_others_have_put_in_the_place_is_not_used(place, make):
    make(own(place))
    with pytest.raises(ValueError, match=r"mtk-\d+'.*TMPDIR"), temporary_folder("test-"):
        pass


def test_a_lock_of_others_is_neither_followed_nor_emptied(place):
    victim = place / "victim"
    victim.write_text("precious")
    folder = own(place) / "test-x"
    folder.mkdir(parents=True)
    own(place).chmod(0o700)
    (folder / "lock").symlink_to(victim)
    with temporary_folder("test-"):
        assert victim.read_text() == "precious"
    with pytest.raises(OSError, match=r"not a symbolic link.*test-x/lock"):
        locks.open_file(folder / "lock")
    os.mkfifo(place / "fifo")
    with pytest.raises(OSError, match="fifo"):
        locks.open_file(place / "fifo")


def test_a_lock_that_everybody_could_read_is_made_private(place):
    path = place / "lock"
    path.touch(mode=0o644)
    descriptor, other = locks.open_file(path), locks.open_file(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [locks.lock(descriptor), locks.lock(other), locks.lock(other, shared=True)] == [
            *(True, False, False)
        ]
    finally:
        os.close(descriptor)
        os.close(other)
