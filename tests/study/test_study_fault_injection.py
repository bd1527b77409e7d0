"""Sweeps that are killed by the fault injection tool."""

import json
import os
import random
import signal
import subprocess
import sys

import compare_runs
import pytest
import study_fault_injection

from mtk.study import StudyFolder
from mtk.study.engines import base

STEPS = 40  # So many that no run ends before it is killed.


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return study_fault_injection.write(
        tmp_path_factory.mktemp("study") / "study.gin", STEPS, (0.1,)
    )


@pytest.fixture(scope="module")
def reference(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    done = subprocess.run(
        study_fault_injection.command(study, folder),
        cwd=study_fault_injection.ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "2/2 done" in done.stderr
    return folder


@pytest.mark.slow
def test_forked_run_equals_that_of_the_command(reference, tmp_path):
    """A run that shares the import of TensorFlow with others gives bitwise equal results."""
    run = json.loads((reference / "study.json").read_text())["runs"][1]["hash"]
    folder = StudyFolder(reference)
    # As recorded in the manifest, with the threads that each of two concurrent runs has.
    command = json.loads((folder.run_dir(run) / "manifest.json").read_text())["command"]
    assert command[1:3] == ["-m", "mtk.train"]
    environment = base.threads(len(os.sched_getaffinity(0)) // 2)
    subprocess.run(
        [sys.executable, *command[1:-1], f"--run_dir={tmp_path / 'alone'}"],
        check=True,
        capture_output=True,
        env={**os.environ, **environment},
        cwd=study_fault_injection.ROOT,
    )
    assert compare_runs.differences(tmp_path / "alone", folder.run_dir(run)) == []


@pytest.mark.slow
def test_killed_study_ends_like_an_uninterrupted_one(study, reference, tmp_path):
    draw, folder = random.Random(0), tmp_path / "study"
    victim = study_fault_injection.Victim(study, folder)
    assert victim.wait_for_run()
    assert victim.disturb("run", draw)
    assert victim.wait_for_run()
    assert victim.disturb("sweep", draw)
    # Its runs notice that it has ended; the next sweep waits for them or takes over.
    stopped = study_fault_injection.Victim(study, folder)
    assert stopped.wait_for_run()
    assert stopped.end(signal.SIGTERM) in (75, 0)
    two = [study_fault_injection.Victim(study, folder) for _ in range(2)]
    assert [sweep.finish() for sweep in two] == [0, 0]
    assert study_fault_injection.differences(folder, reference) == []


@pytest.mark.slow
def test_forty_kills(monkeypatch):
    monkeypatch.setattr("sys.argv", ["study_fault_injection.py", "--kills=40"])
    assert study_fault_injection.main() == 0
