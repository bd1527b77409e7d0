import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tensorflow as tf
from fake_engine import finish

from mtk.study import StudyFolder, worker
from mtk.study.engines import Local, local
from tests.waiting import until

THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
SHOW = ("CUDA_VISIBLE_DEVICES", *THREADS)


@pytest.fixture
def folder(tmp_path):
    made = StudyFolder(tmp_path)
    for name in ("logs", "leases", "runs"):
        (tmp_path / name).mkdir()
    return made


@pytest.fixture
def environments(monkeypatch, folder):
    """Makes runs write their environment to a file instead of training."""

    def work(path, run):
        os.write(1, b"at work")
        seen = {name: os.environ.get(name) for name in SHOW}
        (StudyFolder(path).run_dir(run)).write_text(json.dumps(seen))
        return 0

    monkeypatch.setattr(worker, "work", work)
    return lambda run: json.loads(folder.run_dir(run).read_text())


def execute(engine, folder, runs):
    """Executes runs as a sweep would, as many at a time as there are slots."""
    left, at_work, done = list(runs), 0, []
    with engine:
        while len(done) < len(runs):
            while left and at_work < engine.slots:
                engine.start(folder.path, left.pop(0))
                at_work += 1
            ended = engine.wait(20)
            at_work -= len(ended)
            done += ended
    return done


def test_each_run_gets_one_gpu(monkeypatch, folder, environments):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    engine = Local(share_import=True)
    assert engine.slots == 2
    with engine:
        for run in ("a", "b"):
            engine.start(folder.path, run)
        done = engine.wait(20)
        while len(done) < 2:
            done += engine.wait(20)
        assert {environments(run)["CUDA_VISIBLE_DEVICES"] for run in "ab"} == {"3", "5"}
        freed = environments(done[0])["CUDA_VISIBLE_DEVICES"]
        engine.start(folder.path, "c")
        # A run's pipe closes shortly before its exit code is available: `wait` may return nothing.
        while not (done := engine.wait(20)):
            pass
        assert done == ["c"]
        assert environments("c")["CUDA_VISIBLE_DEVICES"] == freed
    assert folder.log("a").read_text() == "at work"


def test_temporary_files_of_a_run_are_deleted(monkeypatch, folder):
    def work(path, run):
        handle, name = tempfile.mkstemp()
        os.close(handle)
        StudyFolder(path).run_dir(run).write_text(name)
        return 1  # Any exit code.

    monkeypatch.setattr(worker, "work", work)
    execute(Local(1, share_import=True), folder, ["a", "b"])
    used = [Path(folder.run_dir(run).read_text()).parent for run in "ab"]
    assert not any(path.exists() for path in used)
    # The temporary folder of this process is unchanged.
    assert Path(tempfile.gettempdir()) not in used


@pytest.mark.parametrize(("cores", "workers", "threads"), [(2, 2, "1"), (8, 3, "2"), (1, 2, "1")])
def test_runs_share_the_cores(monkeypatch, folder, environments, cores, workers, threads):
    monkeypatch.setattr(local.resources, "cpu_count", lambda: cores)
    monkeypatch.setattr(local, "_visible_gpus", lambda: [])
    execute(Local(workers, share_import=True), folder, ["a"])
    seen = environments("a")
    assert [seen[name] for name in THREADS] == [threads] * 3
    assert Local().slots == cores


def test_single_run_uses_all_cores(monkeypatch, folder, environments):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    execute(Local(1, share_import=True), folder, ["a"])
    assert environments("a")["TF_NUM_INTRAOP_THREADS"] is None


def test_every_run_is_reported_once(folder, environments):
    runs = [f"run{i}" for i in range(9)]
    assert sorted(execute(Local(3, share_import=True), folder, runs)) == runs


@pytest.mark.parametrize(
    ("given", "visible", "message"),
    [
        ({"gpus": 2}, "1", "2 GPUs were requested, but 1 are visible"),
        ({"workers": 3}, "0,1", "at most the number of GPUs"),
        ({"workers": -1}, "", "must be at least 1"),
    ],
)
def test_invalid_numbers_raise(monkeypatch, given, visible, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ValueError, match=message):
        Local(**given)


def test_no_fork_after_tensorflow_has_computed(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    tf.constant(1)
    assert not Local(2).forks
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert not Local().forks


@pytest.mark.slow
def test_fork_is_allowed_after_importing_tensorflow(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asks = "from mtk.study.engines import Local; import tensorflow as tf; e = Local(2)"
    asks += "; print(e.forks); tf.constant(1); print(e.forks)"
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True)
    assert done.stdout.split() == [str(sys.platform == "linux"), "False"], done.stderr


def start_sweep(log):
    """Starts a process that executes a run like a sweep; both wait."""

    def job():
        signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b"asked to stop"), os._exit(75)))
        os.write(1, b"begun")
        time.sleep(3600)

    def work():
        os.setsid()
        # Background jobs of a shell ignore SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if os.fork() == 0:
            worker.detached(job, log, os.getppid())
        time.sleep(3600)

    process = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    process.start()
    return process


def wait_for(log, text):
    until(lambda: log.exists() and text in log.read_text())


def test_runs_stop_when_the_sweep_has_ended(tmp_path):
    log = tmp_path / "log"
    sweep = start_sweep(log)
    wait_for(log, "begun")
    sweep.kill()
    sweep.join()
    wait_for(log, "asked to stop")


def test_ctrl_c_at_the_terminal_does_not_reach_runs(tmp_path):
    log = tmp_path / "log"
    sweep = start_sweep(log)
    wait_for(log, "begun")

    def interrupted():
        """Sends SIGINT repeatedly, since code in the forked process may swallow it."""
        if sweep.is_alive():
            os.killpg(sweep.pid, signal.SIGINT)
        sweep.join(0.1)
        return not sweep.is_alive()

    until(interrupted)
    wait_for(log, "asked to stop")  # Because the sweep has ended.
    assert "KeyboardInterrupt" not in log.read_text()


def test_worker_skips_a_leased_or_completed_run(folder):
    lease = folder.lease("a")
    assert lease.acquire()
    assert worker.work(folder.path, "a") == worker.TAKEN
    lease.release()
    finish(folder.path, "a")
    assert worker.work(folder.path, "a") == worker.TAKEN
    assert not folder.run_log.path.exists()


def test_worker_records_why_a_run_failed(folder):
    folder.config("a").parent.mkdir()
    folder.config("a").write_text("from mtk import experiment\nexperiment.Training.epoch = 3\n")
    assert worker.work(folder.path, "a") == worker.BAD_INPUT
    assert "Did you mean 'epochs'" in folder.reason("a")
    assert [entry["event"] for entry in folder.run_log.entries()] == ["failed"]
    assert folder.run_log.seconds() == {}


@pytest.mark.slow
def test_run_in_a_fresh_process(monkeypatch, folder):
    folder.config("a").parent.mkdir()
    folder.config("a").write_text("from mtk import experiment\nexperiment.Training.epoch = 3\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert execute(Local(2, share_import=False), folder, ["a"]) == ["a"]
    assert "Did you mean 'epochs'" in folder.reason("a")
    assert "ConfigError" in folder.log("a").read_text()
