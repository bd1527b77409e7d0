"""1, 2 and 4 replicas give the same run: combiners are not linear, so this is not for free."""

import subprocess
import sys

import numpy as np
import pytest

from tests.trainer.replicated import COMBINERS, FORMS


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    processes = {}
    for replicas in (1, 2, 4):
        path = folder / f"{replicas}.npz"
        command = [sys.executable, "-m", "tests.trainer.replicated", str(replicas), str(path)]
        processes[path] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for process in processes.values():
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]
    return {int(path.stem): np.load(path) for path in processes}


@pytest.mark.parametrize("replicas", [2, 4])
@pytest.mark.parametrize("name", [*COMBINERS, *FORMS])
def test_same_weights_after_20_steps(results, name, replicas):
    alone, together = results[1][name], results[replicas][name]
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(
        results[replicas][name + " logs"], results[1][name + " logs"], atol=1e-5
    )


@pytest.mark.parametrize("replicas", [2, 4])
def test_dropout_masks_differ_between_replicas(results, replicas):
    assert results[replicas]["masks_differ"]
