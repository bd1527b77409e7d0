import subprocess
import sys

import numpy as np
import pytest

from mtk.export import load


@pytest.mark.slow
def test_network_trained_on_two_replicas_is_exported(tmp_path):
    command = [sys.executable, "-m", "tests.serving.export_from_replicas", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "expected.npz") as found:
        expected = dict(found)
    x = expected.pop("x")
    for name in ("saved_model", "model.keras"):
        network = load(tmp_path / name)
        outputs = network(x, training=False)
        assert set(outputs) == set(expected)
        for task, value in expected.items():
            np.testing.assert_allclose(outputs[task], value, rtol=1e-5, atol=1e-6)
