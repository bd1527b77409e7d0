import os
import subprocess
import sys
from pathlib import Path

import likeness
import pytest
from application_runs import read_metrics

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_replicas_resume(tmp_path):
    """Metrics are sums over the replicas; each gets an equal part back, hence their rounding."""
    paths = (HERE.parents[1], HERE, HERE.parent / "application")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, HERE / "replicas_resume.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    run, undisturbed = tmp_path / "run", tmp_path / "undisturbed"
    found = likeness.differences(run, undisturbed)
    rounded = ("curve train/", "metrics.jsonl")
    assert [text for text in found if not text.startswith(rounded)] == []
    pairs = zip(read_metrics(run), read_metrics(undisturbed), strict=True)
    for line, expected in pairs:
        assert line == {**expected, "value": pytest.approx(expected["value"], rel=1e-6)}
