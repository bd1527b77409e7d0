"""Kills processes with `tools/fault_injection.py`."""

import json
import random
import signal
import subprocess

import compare_runs
import fault_injection
import pytest

STEPS = 16


def train(run_dir, steps=STEPS):
    subprocess.run(fault_injection.command(run_dir, steps), check=True, capture_output=True)


@pytest.mark.slow
def test_killed_and_preempted_run_equals_an_uninterrupted_run(tmp_path):
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    train(undisturbed)
    killed = fault_injection.Victim(run, STEPS)
    killed.wait_for("unfinished.0", 4)
    assert killed.end()[0] == -signal.SIGKILL
    preempted = fault_injection.Victim(run, STEPS)
    preempted.wait_for("0", 2)
    assert preempted.end(signal.SIGTERM)[0] == 75
    train(run)
    sessions = json.loads((run / "manifest.json").read_text())["sessions"]
    first_steps = [session["first_step"] for session in sessions]
    assert first_steps == sorted(first_steps)
    assert 0 < first_steps[1] < first_steps[2] < STEPS
    assert compare_runs.differences(run, undisturbed) == []


def test_half_of_the_kills_are_during_writes():
    aims = fault_injection.moments(30, random.Random(0))
    assert aims.count("write") == 15
    assert {"start", "end", "step"} < set(aims)


@pytest.mark.slow
def test_thirty_kills(monkeypatch):
    monkeypatch.setattr("sys.argv", ["fault_injection.py", "--kills=30"])
    assert fault_injection.main() == 0
