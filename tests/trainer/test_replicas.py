"""1, 2 and 4 replicas and 2 workers train the same, although combiners are not linear.

All combiners, for 50 steps:

    python -m pytest -m slow tests/trainer/test_replicas.py
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from mtk import distribution
from tests.distribution.starting import environment, free_addresses
from tests.trainer import replicated
from tests.trainer.replicated import COMBINERS, FORMS
from tests.trainer.two_replicas import KINDS, NETWORKS, STEPS

NAMES = [*COMBINERS, *FORMS]


def start(module, *flags, worker=None, addresses=()):
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, flags)],
        env=environment(worker, addresses),
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(*processes):
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]


def on_one_device(folder, steps, names):
    """Trains in this process."""
    replicated.main(distribution.single(), steps, str(folder / "1.npz"), names)
    return np.load(folder / "1.npz")


@pytest.fixture(scope="module")
def short_results(tmp_path_factory):
    """The results of one and of two replicas, and errors of steps on two against a Jacobian."""
    folder = tmp_path_factory.mktemp("replicas")
    process = start("tests.trainer.two_replicas", folder)
    one = on_one_device(folder, STEPS, KINDS)
    wait_for(process)
    return one, np.load(folder / "2.npz"), json.loads((folder / "jacobian.json").read_text())


@pytest.fixture(scope="module")
def long_results(tmp_path_factory):
    """The results by number of replicas and by worker."""
    folder = tmp_path_factory.mktemp("replicas")
    started = {}
    for replicas in (2, 4):
        path = folder / f"{replicas}.npz"
        flags = (f"--replicas={replicas}", "--steps=50", path, *NAMES)
        started[path] = start("tests.trainer.replicated", *flags)
    addresses = free_addresses(2)
    for worker in range(2):
        path = folder / f"worker {worker}.npz"
        started[path] = start(
            *("tests.trainer.replicated", "--replicas=2", "--steps=50", path, *NAMES),
            worker=worker,
            addresses=addresses,
        )
    one = on_one_device(folder, 50, NAMES)
    wait_for(*started.values())
    return {"1": one, **{path.stem: np.load(path) for path in started}}


def assert_same(one, other, name):
    assert np.isfinite(one[name]).all()
    np.testing.assert_allclose(other[name], one[name], atol=1e-5)
    np.testing.assert_allclose(other[name + " logs"], one[name + " logs"], atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_same_weights_after_20_steps(short_results, name):
    one, two, _ = short_results
    assert_same(one, two, name)


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["2", "4", "worker 0", "worker 1"])
@pytest.mark.parametrize("name", NAMES)
def test_same_weights_after_50_steps(long_results, name, devices):
    assert_same(long_results["1"], long_results[devices], name)


def test_dropout_masks_differ_between_replicas(short_results):
    assert short_results[1]["masks_differ"]


@pytest.mark.parametrize("kind", NETWORKS)
def test_step_on_two_replicas_equals_jacobian(short_results, kind):
    found = short_results[2][kind]
    assert "error" not in found, found
    assert max(found.values()) < 1e-5, found
