"""Gramian and update of every gradient strategy equal those computed by `tape.jacobian`.

All strategies, with and without micro-batches, for each kind of network, also on two replicas:

    python -m pytest -m slow -n 2 tests/trainer/test_against_jacobian.py
"""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from tests.distribution.starting import environment
from tests.quick import slow
from tests.trainer import zoo
from tests.trainer.against_jacobian import (
    WAYS,
    compiled_model,
    errors,
    library_step,
    reference_step,
)

# By default only this file covers every kind of layer: with graph rewriting, as users have it.
pytestmark = pytest.mark.usefixtures("rewritten_graphs")

TOLERANCE = 1e-5
COMBINATIONS = list(itertools.product(WAYS, (1, 3)))


def fits(kind, combination):
    way, micro_batches = combination
    return (kind.parts or micro_batches == 1) and not (kind.grouped and way == "vectorized")


def costly(kind, combination):
    return kind.recurrent and combination != ("unrolled", 1)


# Regressions: Gramians from the factors of a kernel's gradient were once wrong for these.
FACTORS = [
    (name, ("unrolled", 1))
    for name in ("adding_activation", "adding_activation_of_convolution", "stopped_gate")
]


def both(kind, way, micro_batches=1):
    problem = zoo.build(kind)
    found = library_step(compiled_model(kind, way, micro_batches), problem.batch())
    return reference_step(problem), found


def assert_same(found):
    assert "error" not in found, found
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize(("kind", "combination"), zoo.rotation(COMBINATIONS, fits, costly, FACTORS))
def test_step_equals_jacobian(kind, combination):
    expected, found = both(kind, *combination)
    assert np.abs(expected.gramian).max() > 1e-4
    assert_same(errors(found, expected))
    if combination[1] == 1:
        zoo.assert_close(found.states, expected.states, 1e-5)


def test_vectorized_is_refused_for_grouped_convolutions():
    """TensorFlow's vectorized gradient of these is wrong."""
    with pytest.raises(ValueError, match=r"(?s)vectorized.*group|group.*vectorized"):
        both("grouped_convolution", "vectorized")


@pytest.mark.parametrize("kind", ["depthwise_convolution", slow("separable_convolution")])
def test_vectorized_equals_jacobian_for_depthwise_convolutions(kind):
    expected, found = both(kind, "vectorized")
    assert_same(errors(found, expected))


REPLICATED = zoo.names(lambda kind: kind.replicas)


def on_replicas(folder, way, kinds):
    path = folder / f"{way}.json"
    process = subprocess.run(
        [sys.executable, "-m", "tests.trainer.against_jacobian", f"--way={way}", path, *kinds],
        env=environment(None, ()),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def errors_on_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    return {way: on_replicas(folder, way, REPLICATED) for way in WAYS}


# By default `test_replicas.py` covers some of them.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "way"),
    [
        (kind, way)
        for kind, way in itertools.product(REPLICATED, WAYS)
        if not (zoo.KINDS[kind].grouped and way == "vectorized")
    ],
)
def test_step_on_two_replicas_equals_jacobian(errors_on_replicas, kind, way):
    assert_same(errors_on_replicas[way][kind])
