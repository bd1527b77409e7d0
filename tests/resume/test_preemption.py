import os
import shutil
import signal
import threading

import compare_runs
import pytest
from application_runs import start
from crashes import names

from mtk.experiment import completion, preemption, results
from mtk.experiment.checkpointing import Checkpointing
from mtk.experiment.folder_lock import FolderLock
from mtk.experiment.preemption import InterruptedRunError, Preemption
from tests.quick import slow
from tests.waiting import until


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    start(tiny, folder)
    return folder


@pytest.fixture(autouse=True)
def entered(monkeypatch):
    """All `Preemption` objects that were entered, in order."""
    found, enter = [], Preemption.__enter__

    def entering(self):
        found.append(self)
        return enter(self)

    monkeypatch.setattr(Preemption, "__enter__", entering)
    return found


def send(heard, number=signal.SIGTERM):
    """Sends this process a signal, and waits until it has been handled."""
    os.kill(os.getpid(), number)
    until(heard)


def send_at(monkeypatch, owner, name, step, entered):
    original = getattr(owner, name)

    def sending(self, *arguments, **others):
        if self.step == step:
            monkeypatch.setattr(owner, name, original)
            send(lambda: entered[-1].asked)
        return original(self, *arguments, **others)

    monkeypatch.setattr(owner, name, sending)


MOMENTS = [("stepped", 6), ("on_test_batch_end", 8)]


@pytest.mark.parametrize("moments", [MOMENTS[1:], slow(MOMENTS)])
def test_signals_interrupt_a_run_in_any_phase(
    tiny, undisturbed, tmp_path, monkeypatch, entered, moments
):
    """In training, in a validation, and in the final evaluations."""
    run = tmp_path / "run"
    handler = signal.getsignal(signal.SIGTERM)
    for name, step in moments:
        send_at(monkeypatch, Checkpointing, name, step, entered)
        result = start(tiny, run)
        assert result == {"status": "interrupted", "steps": step}
        assert names(run)[-1].endswith(f"-step-{step}")
        assert not (run / "result.json").exists()
        assert signal.getsignal(signal.SIGTERM) is handler
    restore = completion.callbacks.BestCheckpoint.restore

    def restoring(self):
        restore(self)
        send(lambda: entered[-1].asked)

    with monkeypatch.context() as patch:
        patch.setattr(completion.callbacks.BestCheckpoint, "restore", restoring)
        assert start(tiny, run)["status"] == "interrupted"
    assert start(tiny, run)["status"] == "finished"
    assert compare_runs.differences(run, undisturbed) == []


def test_summary_says_how_to_resume():
    text = results.summary({"status": "interrupted", "steps": 6}, "runs/a")
    assert "step 6" in text
    assert "same command" in text


def test_second_signal_ends_the_process_at_once(monkeypatch, capsys):
    codes = []
    monkeypatch.setattr(preemption.os, "_exit", codes.append)
    with Preemption() as asked:
        send(lambda: asked.asked, signal.SIGINT)
        assert asked.asked == "SIGINT"
        with pytest.raises(InterruptedRunError):
            asked.check()
        assert codes == []
        send(lambda: codes, signal.SIGTERM)
    assert codes == [128 + signal.SIGTERM]
    assert "SIGINT: stopping after this step" in capsys.readouterr().err


@pytest.mark.usefixtures("heard_hangups")
def test_repeated_sighup_counts_once(monkeypatch):
    """A closed terminal and its shell send SIGHUP; the second must not prevent the checkpoint."""
    codes = []
    monkeypatch.setattr(preemption.os, "_exit", codes.append)
    with Preemption() as asked:
        send(lambda: asked.asked, signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGHUP)
    assert (asked.asked, codes) == ("SIGHUP", [])


def test_ignored_sighup_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Preemption() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert asked.asked is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_signals_and_threads_are_not_affected():
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with Preemption() as asked:
            send(lambda: heard, signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
        assert asked.asked is None  # Its listener has ended, and has handled all signals.
    finally:
        signal.signal(signal.SIGUSR1, before)
    handlers = []

    def elsewhere():
        with Preemption():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]


def test_folder_in_use_is_refused(tiny, undisturbed, tmp_path):
    """Except if its run has finished: its result is only returned."""
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    (folder / "result.json").rename(tmp_path / "result.json")
    lock = FolderLock(folder / "checkpoints" / "lock")
    lock.acquire()
    try:
        with pytest.raises(ValueError, match=f"in use by process {os.getpid()}"):
            start(tiny, folder)
        (tmp_path / "result.json").rename(folder / "result.json")
        assert start(tiny, folder)["status"] == "finished"
        (folder / "result.json").unlink()
    finally:
        lock.release()
    assert start(tiny, folder)["status"] == "finished"


class Together:
    """Imitates the chief of two workers that always agree."""

    number, is_chief = 2, True

    def __init__(self):
        self.asked = 0

    def any(self, *flags):
        self.asked += 1
        return flags

    def from_chief(self, data):
        return data


@pytest.mark.parametrize(
    ("step", "pace", "most"), [(0.01, 1.0, 20), (2.0, 1.0, 200), (0.01, 0, 200)]
)
def test_workers_synchronize_at_a_limited_rate(monkeypatch, step, pace, most):
    now = [0.0]
    monkeypatch.setattr(preemption.time, "monotonic", lambda: now[0])
    workers = Together()
    asked = Preemption(workers, pace)
    for _ in range(200):
        now[0] += step
        assert asked.agreed(True) in ((False, True), (False, False))
    assert (workers.asked == most) == (most == 200)
    assert workers.asked <= most
    asked.asked, signalled = "SIGTERM", now[0]
    while not asked.agreed()[0]:
        now[0] += step
    assert now[0] - signalled <= max(2 * pace, step)
    with pytest.raises(InterruptedRunError):
        asked.check()


def test_forget_pace_synchronizes_at_the_next_step(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(preemption.time, "monotonic", lambda: now[0])
    asked = Preemption(Together())
    for _ in range(1000):
        now[0] += 0.001
        asked.agreed()
    asked.asked = "SIGTERM"
    asked.forget_pace()
    assert asked.agreed() == (True,)
