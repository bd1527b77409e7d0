import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOREIGN = Path(__file__).parent / "foreign.py"


@pytest.fixture
def in_another_program(tmp_path):
    """A function that calls a SavedModel in a process without this package and Keras."""

    def call(saved_model, named):
        np.savez(tmp_path / "inputs.npz", **named)
        files = [tmp_path / "inputs.npz", tmp_path / "outputs.npz"]
        command = [sys.executable, "-I", FOREIGN, saved_model, *files]
        done = subprocess.run([str(x) for x in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with np.load(files[1], allow_pickle=False) as found:
            return dict(found)

    return call
