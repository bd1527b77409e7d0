import errno
import multiprocessing
import os
import random
import time

import pytest

from mtk import locks
from mtk.study import lease
from mtk.study.lease import Lease, is_taken


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease"


def hold(path):
    """Asks for the claim in a process of its own, which then waits to be killed."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work():
        sender.send(Lease(path).acquire())
        time.sleep(100)

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    return process, receiver.recv()


def test_claim_is_lost_with_the_process_however_it_ends(path):
    assert not is_taken(path)
    process, took = hold(path)
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
    other, took = hold(path)
    other.kill()
    other.join()
    assert not took
    own.release()
    own.release()
    assert not is_taken(path)


def leave(path, host, age):
    """Leaves a claim as another host would, touched so many seconds ago."""
    path.write_text(f"{host} 123")
    touched = time.time() - age
    os.utime(path, (touched, touched))


def test_another_hosts_claim_holds_while_it_is_touched(path):
    draw = random.Random(0)
    for age in [draw.uniform(0, 110) for _ in range(5)]:
        leave(path, "another", age)
        assert is_taken(path)
        assert not Lease(path).acquire()
    for age in [draw.uniform(130, 1e6) for _ in range(5)]:
        leave(path, "another", age)
        assert not is_taken(path)
    assert Lease(path).acquire()


def test_own_hosts_words_say_nothing_where_the_system_locks(path, monkeypatch):
    monkeypatch.setattr(lease.socket, "gethostname", lambda: "this")
    leave(path, "this", age=0)
    assert not is_taken(path)
    assert Lease(path).acquire()


def test_words_must_do_where_the_file_system_knows_no_locks(path, monkeypatch):
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
    leave(path, "this", age=200)
    assert not is_taken(path)


def test_owner_touches_its_claim(path, monkeypatch):
    monkeypatch.setattr(lease, "_HEARTBEAT", 0.01)
    own = Lease(path)
    assert own.acquire()
    before = time.time() - 1000
    os.utime(path, (before, before))
    deadline = time.monotonic() + 20
    while path.stat().st_mtime < before + 500:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    own.release()


def test_other_errors_of_the_file_system_are_not_swallowed(path, monkeypatch):
    def broken(descriptor, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(locks.fcntl, "flock", broken)
    with pytest.raises(OSError, match="Input/output"):
        Lease(path).acquire()
