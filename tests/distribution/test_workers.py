"""Two workers train like one process; after either is stopped or killed, the run resumes."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import mtk.train
from mtk import config, distribution
from tests.distribution.starting import (
    SEVERAL,
    SMALL,
    end_of,
    environment,
    free_addresses,
    train,
    train_two,
)
from tests.waiting import until


def start_workers(folder, *flags):
    return train_two(f"--run_dir={folder}", *flags)


def wait_for(pattern, folder, processes):
    """Waits for a file that matches `pattern` in `folder`; fails if a process ends before."""

    def there():
        ended = [end_of(process) for process in processes if process.poll() is not None]
        assert not ended, ended
        return list(folder.glob(pattern))

    until(there)


def worker_folders():
    return set(Path(tempfile.gettempdir()).glob("mtk-*/mtk-worker-*"))


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state(folder):
    """Returns the name and the arrays of the last checkpoint."""
    last = max(folder.glob("checkpoints/0*"))
    with np.load(last / "variables.npz") as arrays:
        return last.name, {name: arrays[name] for name in arrays.files}


def assert_equal_runs(one, other):
    ours, theirs = metrics(one), metrics(other)
    assert len(ours) > 30
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.pop("value") == pytest.approx(its.pop("value"), abs=1e-5)
        assert mine == its
    (name, mine), (its_name, its) = state(one), state(other)
    assert name == its_name
    assert mine.keys() == its.keys()
    for key, values in mine.items():
        # Each worker has a part of a metric's sums.
        theirs = its[key].sum(0) if its[key].ndim > values.ndim else its[key]
        np.testing.assert_allclose(theirs, values, rtol=1e-5, atol=1e-5, err_msg=key)
    results = [json.loads((folder / "result.json").read_text()) for folder in (one, other)]
    assert results[0]["selected_step"] == results[1]["selected_step"]


@pytest.fixture(scope="module")
def single_process_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    status, _, errors = end_of(train(f"--run_dir={folder}"))
    assert status == 0, errors
    return folder


@pytest.mark.slow
def test_killed_worker_ends_the_other_and_the_same_command_resumes(single_process_run, tmp_path):
    folder, before = tmp_path / "run", worker_folders()
    chief, other = processes = start_workers(folder)
    wait_for("checkpoints/0*-step-1?", folder, processes)
    other.kill()
    status, _, errors = end_of(chief)
    assert status == 4, errors
    assert "Another worker has ended" in errors
    assert end_of(other)[0] == -signal.SIGKILL
    assert not (folder / "result.json").exists()

    chief, other = start_workers(folder)
    status, out, errors = end_of(chief)
    assert status == 0, errors
    assert "Test at step" in out
    assert "step 20/20" in errors
    status, out, errors = end_of(other)
    assert status == 0, errors
    assert out == "Worker 1: finished. See worker 0 for the results.\n"
    assert "step" not in errors
    assert worker_folders() <= before
    assert_equal_runs(single_process_run, folder)
    assert (folder / "saved_model" / "saved_model.pb").exists()


@pytest.mark.slow
def test_metrics_after_a_lost_worker_are_bitwise_equal(tmp_path):
    """Metrics are also equal in the interval of the loss, though each worker has a part of them."""
    for process in start_workers(tmp_path / "undisturbed"):
        status, _, errors = end_of(process)
        assert status == 0, errors
    folder = tmp_path / "killed"
    processes = start_workers(folder)
    wait_for("checkpoints/0*-step-1[1-5]", folder, processes)
    processes[1].kill()
    assert [end_of(process)[0] for process in processes] == [4, -signal.SIGKILL]
    for process in start_workers(folder):
        status, _, errors = end_of(process)
        assert status == 0, errors
    assert metrics(folder) == metrics(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGSTOP", "SIGKILL"])
def test_run_resumes_after_a_signal_to_a_worker(single_process_run, tmp_path, victim, name):
    folder = tmp_path / "run"
    processes = start_workers(folder)
    wait_for("checkpoints/0*-step-1?", folder, processes)
    processes[victim].send_signal(getattr(signal, name))
    status, _, errors = end_of(processes[1 - victim])
    assert status == (75 if name == "SIGTERM" else 4), errors
    if name == "SIGSTOP":
        processes[victim].kill()
    assert end_of(processes[victim])[0] == (75 if name == "SIGTERM" else -signal.SIGKILL)
    for status, _, errors in map(end_of, start_workers(folder)):
        assert status == 0, errors
    assert_equal_runs(single_process_run, folder)
    # A finished run prints its results again.
    (status, out, _), (other_status, other_out, _) = map(end_of, start_workers(folder))
    assert (status, other_status) == (0, 0)
    assert "Test at step" in out
    assert other_out == "Worker 1: finished. See worker 0 for the results.\n"


@pytest.mark.slow
def test_workers_with_different_configurations_are_refused(tmp_path):
    addresses = free_addresses(2)
    processes = [
        train(
            f"--run_dir={tmp_path / 'run'}",
            f"--gin.experiment.Optimization.learning_rate={rate}",
            worker=worker,
            addresses=addresses,
        )
        for worker, rate in enumerate([0.1, 0.2])
    ]
    (status, _, errors), (other_status, _, other_errors) = map(end_of, processes)
    assert (status, other_status) == (2, 2)
    assert "do not have the same configuration" in errors
    assert "learning_rate: 0.1 at worker 0, 0.2 here" in other_errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_run_folder_that_is_not_shared_is_refused(single_process_run, tmp_path):
    addresses = free_addresses(2)
    processes = [
        train(f"--run_dir={folder}", worker=worker, addresses=addresses)
        for worker, folder in enumerate([single_process_run, tmp_path / "elsewhere"])
    ]
    for status, _, errors in map(end_of, processes):
        assert status == 2, errors
        assert "do not see the same run folder" in errors
    assert "result.json" in errors
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_run_folder_that_the_chief_cannot_use_ends_all_workers(tmp_path):
    (tmp_path / "something").write_text("here")
    (status, _, errors), (other_status, _, other_errors) = map(end_of, start_workers(tmp_path))
    assert (status, other_status) == (2, 2)
    assert "is not empty" in errors
    assert "Worker 0 cannot use its run folder" in other_errors


@pytest.mark.slow
def test_dry_run_describes_the_workers(tmp_path):
    (status, out, errors), (other_status, _, other_errors) = map(end_of, train_two("--dry_run"))
    assert (status, other_status) == (0, 0), errors + other_errors
    assert "Strategy: 2 workers, 2 replicas, 32 examples each" in out
    assert "/job:worker/replica:0/task:0/device:CPU:0" in out


def test_missing_workers_are_named(tmp_path, monkeypatch, capsys):
    addresses = free_addresses(2)
    monkeypatch.setenv("TF_CONFIG", environment(0, addresses)["TF_CONFIG"])
    flags = [f"--run_dir={tmp_path / 'run'}", "--gin.distribution.multi_worker.timeout=0.1"]
    assert mtk.train.main([*SMALL, *SEVERAL, *flags]) == 2
    config.parse()
    assert f"No response from worker 1 ({addresses[1]})" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


JOINT = """
import sys
import mtk.train
from mtk import config, distribution

strategy = distribution.multi_worker(600.0)
workers = distribution.Workers(strategy)
own = workers.index == 1
assert workers.number == 2 and workers.is_chief == (workers.index == 0)
assert workers.any(False, own, True) == (False, True, True)
for size in (0, 1, 3, 4, 5, 100_003):
    sent = bytes(i % 251 for i in range(size))
    assert workers.from_chief(sent if workers.is_chief else b"not read") == sent
workers.wait()
"""


@pytest.mark.slow
def test_collective_operations():
    addresses = free_addresses(2)
    commands = [sys.executable, "-c", JOINT]
    processes = [
        subprocess.Popen(commands, env=environment(worker, addresses), stderr=subprocess.PIPE)
        for worker in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-2000:]


def test_collective_operations_of_one_worker():
    workers = distribution.Workers(distribution.single())
    assert (workers.number, workers.index, workers.is_chief) == (1, 0, True)
    assert workers.any(True, False) == (True, False)
    assert workers.from_chief(b"data") == b"data"
