"""1, 2 and 4 replicas and 2 workers give the same run; combiners are not linear, so it takes care.

The long form:

    python -m pytest -m slow tests/trainer/test_replicas.py
"""

import subprocess
import sys

import numpy as np
import pytest

from tests.distribution.starting import environment, free_addresses
from tests.trainer.replicated import COMBINERS, FORMS

NAMES = [*COMBINERS, *FORMS]
# The long form has all combiners, and batches with inputs of each task's own.
KINDS = ["pcgrad", "mixed"]


def start(path, replicas, steps, names, worker=None, addresses=()):
    flags = [f"--replicas={replicas}", f"--steps={steps}", str(path), *names]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.replicated", *flags],
        env=environment(worker, addresses),
        stderr=subprocess.PIPE,
        text=True,
    )


def run_all(folder, steps, replicas_each, workers, names):
    """Returns the results of numbers of replicas, and of the workers, by their names."""
    started = {}
    for replicas in replicas_each:
        path = folder / f"{replicas}.npz"
        started[path] = start(path, replicas, steps, names)
    addresses = free_addresses(workers)
    for worker in range(workers):
        path = folder / f"worker {worker}.npz"
        started[path] = start(path, workers, steps, names, worker, addresses)
    for process in started.values():
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]
    return {path.stem: np.load(path) for path in started}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    return run_all(folder, steps=20, replicas_each=(1, 2), workers=0, names=KINDS)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    return run_all(folder, steps=50, replicas_each=(1, 2, 4), workers=2, names=NAMES)


def assert_same(one, other, name):
    assert np.isfinite(one[name]).all()
    np.testing.assert_allclose(other[name], one[name], atol=1e-5)
    np.testing.assert_allclose(other[name + " logs"], one[name + " logs"], atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_same_weights_after_20_steps(short, name):
    assert_same(short["1"], short["2"], name)


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["2", "4", "worker 0", "worker 1"])
@pytest.mark.parametrize("name", NAMES)
def test_same_weights_after_50_steps(long, name, devices):
    assert_same(long["1"], long[devices], name)


def test_dropout_masks_differ_between_replicas(short):
    assert short["2"]["masks_differ"]
