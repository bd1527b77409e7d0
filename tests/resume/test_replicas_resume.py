import os
import subprocess
import sys
from pathlib import Path

import compare_runs
import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_replicas_resume(tmp_path):
    """The run is bitwise equal: each replica restores its own part of the metrics."""
    paths = (HERE.parents[1], HERE, HERE.parent / "application")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, HERE / "replicas_resume.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert compare_runs.differences(tmp_path / "run", tmp_path / "undisturbed") == []
