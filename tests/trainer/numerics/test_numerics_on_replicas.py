"""Micro-batches, skipped steps and loss scaling give the same on two replicas and one device."""

import subprocess
import sys

import numpy as np
import pytest

from tests.trainer.numerics.numerics_on_replicas import OPTIONS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("numerics") / "out.npz"
    command = [sys.executable, "-m", "tests.trainer.numerics.numerics_on_replicas", str(path)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.load(path)


@pytest.mark.parametrize("name", OPTIONS)
def test_two_replicas_equal_one_device(results, name):
    tolerance = 2e-3 if "float16" in name else 1e-5
    assert np.isfinite(results[f"1 {name} values"]).all()
    for part in ("values", "logs"):
        one, two = results[f"1 {name} {part}"], results[f"2 {name} {part}"]
        np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(results[f"1 {name} counts"], results[f"2 {name} counts"])


@pytest.mark.parametrize("name", [name for name in OPTIONS if "skipping" in name])
def test_nonfinite_step_is_skipped(results, name):
    np.testing.assert_array_equal(results[f"2 {name} counts"], [1, 5, -1])


def test_float16_skips_steps_until_the_loss_scale_is_low_enough(results):
    skipped, iterations, nonfinite, scale = results["2 mgda float16 counts"]
    assert 1 <= skipped < 6
    assert (skipped + iterations, nonfinite, scale) == (6, -1, 2.0 ** (18 - skipped))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("jit_compile", "XLA cannot compile a step for several CPU devices"),
        ("micro_batches", "['norm'] normalize over all replicas"),
    ],
)
def test_unsupported_options_are_refused(results, option, message):
    assert message in str(results[option])
