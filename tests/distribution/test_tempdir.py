import os
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from mtk import locks
from mtk.experiment.tempdir import temporary_folder


def leave_folder_of_killed_process():
    """Creates a temporary folder in a child process that is killed."""
    child = os.fork()
    if child == 0:
        with temporary_folder("test-") as folder:
            (folder / "file").write_text("content")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def user_folder(place):
    return place / f"mtk-{os.getuid()}"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_folder_is_removed_after_an_exception(place):
    def fail():
        with temporary_folder("test-") as folder:
            (folder / "file").write_text("content")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list(user_folder(place).iterdir())


def test_only_folders_of_killed_processes_are_removed(place):
    leave_folder_of_killed_process()
    (left,) = user_folder(place).iterdir()
    (user_folder(place) / "test-of-others").mkdir()
    with temporary_folder("test-") as first, temporary_folder("test-") as second:
        assert first != second
        assert not left.exists()
        assert first.exists()
        assert (user_folder(place) / "test-of-others").exists()


def test_folder_and_lock_are_private(place):
    before = os.umask(0)
    try:
        with temporary_folder("test-") as folder:
            for path, mode in (
                (user_folder(place), 0o700),
                (folder, 0o700),
                (folder / "lock", 0o600),
            ):
                assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def world_writable(path):
    path.mkdir()
    path.chmod(0o777)


def link(path):
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.parent / "elsewhere")


def owned_by_another_user(path):
    path.mkdir(mode=0o700)
    try:
        os.chown(path, os.getuid() + 1, -1)
    except PermissionError:
        pytest.skip("only root can give a folder away")


@pytest.mark.parametrize("make", [world_writable, link, owned_by_another_user, Path.touch])
def test_unsafe_user_folder_is_refused(place, make):
    make(user_folder(place))
    with pytest.raises(ValueError, match=r"mtk-\d+'.*TMPDIR"), temporary_folder("test-"):
        pass


def test_lock_that_is_a_link_or_fifo_is_refused(place):
    victim = place / "victim"
    victim.write_text("precious")
    folder = user_folder(place) / "test-x"
    folder.mkdir(parents=True)
    user_folder(place).chmod(0o700)
    (folder / "lock").symlink_to(victim)
    with temporary_folder("test-"):
        assert victim.read_text() == "precious"
    with pytest.raises(OSError, match=r"not a symbolic link.*test-x/lock"):
        locks.open_file(folder / "lock")
    os.mkfifo(place / "fifo")
    with pytest.raises(OSError, match="fifo"):
        locks.open_file(place / "fifo")


def test_readable_lock_is_made_private_and_is_exclusive(place):
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
