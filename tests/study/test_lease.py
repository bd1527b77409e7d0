import errno
import multiprocessing
import os
import random
import time

import pytest

from mtk import locks
from mtk.study import lease
from mtk.study.lease import Lease, is_taken
from tests.waiting import until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease"


def acquire_in_subprocess(path):
    """Acquires the lease in a subprocess, which then waits to be killed."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work():
        sender.send(Lease(path).acquire())
        time.sleep(3600)

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    return process, receiver.recv()


def test_lease_ends_with_its_process(path):
    assert not is_taken(path)
    process, took = acquire_in_subprocess(path)
    try:
        assert took
        assert is_taken(path)
        assert not Lease(path).acquire()
    finally:
        process.kill()
        process.join()
    assert not is_taken(path)
    own = Lease(path)
    assert own.acquire()
    other, took = acquire_in_subprocess(path)
    other.kill()
    other.join()
    assert not took
    own.release()
    own.release()
    assert not is_taken(path)


def write_lease(path, host, age):
    """Writes a lease file of another host, last touched `age` seconds ago."""
    path.write_text(f"{host} 123")
    touched = time.time() - age
    os.utime(path, (touched, touched))


def test_lease_of_another_host_is_valid_while_it_is_touched(path):
    draw = random.Random(0)
    for age in [draw.uniform(0, 60) for _ in range(5)]:
        write_lease(path, "another", age)
        assert is_taken(path)
        assert not Lease(path).acquire()
    for age in [draw.uniform(130, 1e6) for _ in range(5)]:
        write_lease(path, "another", age)
        assert not is_taken(path)
    assert Lease(path).acquire()


def test_lease_file_of_the_own_host_is_ignored_without_a_lock(path, monkeypatch):
    monkeypatch.setattr(lease.socket, "gethostname", lambda: "this")
    write_lease(path, "this", age=0)
    assert not is_taken(path)
    assert Lease(path).acquire()


def test_lease_without_file_locks(path, monkeypatch):
    def unsupported(descriptor, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    monkeypatch.setattr(lease.socket, "gethostname", lambda: "this")
    first = Lease(path)
    assert first.acquire()
    assert is_taken(path)
    assert not Lease(path).acquire()
    first.release()
    assert Lease(path).acquire()
    write_lease(path, "this", age=200)
    assert not is_taken(path)


def test_owner_touches_its_lease(path, monkeypatch):
    monkeypatch.setattr(lease, "_HEARTBEAT", 0.01)
    own = Lease(path)
    assert own.acquire()
    before = time.time() - 1000
    os.utime(path, (before, before))
    until(lambda: path.stat().st_mtime > before + 500)
    own.release()


def test_other_file_system_errors_are_raised(path, monkeypatch):
    def broken(descriptor, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(locks.fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        Lease(path).acquire()
