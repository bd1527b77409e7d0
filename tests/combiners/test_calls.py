"""What a combiner takes in a loop of one's own."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from tests.combiners import samples
from tests.combiners.cases import BY_NAME, CASES


def built(name: str, num_tasks: int) -> combiners.Combiner:
    combiner = BY_NAME[name].make()
    combiner.bind([f"task{k}" for k in range(num_tasks)], ["one/kernel"])
    combiner.bind_shapes({"one/kernel": (12,)})
    combiner.build(num_tasks)
    return combiner


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_an_absent_task_may_be_nan(name):
    """As the mean of no losses is, and its gradient."""
    rows, losses = samples.jacobian("conflicting", 3), samples.losses(3)
    rows[1] = losses[1] = np.nan
    found = built(name, 3)([rows], losses, present=[True, False, True])
    assert np.isfinite(found.gradients[0]).all()
    assert np.isfinite(found.task_weights).all()
    assert found.task_weights[1] == 0


@pytest.mark.parametrize("name", ["static", "upgrad", "cr-mogm", "graddrop", "moco"])
def test_gradients_in_float64_stay_so(name):
    rows = samples.jacobian("conflicting", 2).astype("float64")
    found = built(name, 2)([rows], tf.ones(2))
    assert (found.gradients[0].dtype, found.task_weights.dtype) == (tf.float64, tf.float32)


def test_weighted_gradients_keep_their_digits():
    rows = np.array([[1.0 + 1e-12], [1.0]])
    found = combiners.StaticWeights()([rows], np.ones(2)).gradients[0]
    np.testing.assert_allclose(found, [1.0 + 0.5e-12], rtol=1e-15)


def test_lists_for_present_and_counts():
    rows = samples.jacobian("aligned", 2)
    found = combiners.ProportionalSampling()([rows], [1.0, 2.0], counts=[3, 1])
    np.testing.assert_allclose(found.task_weights, [0.75, 0.25])
    found = combiners.UPGrad()([rows], [1.0, 2.0], present=[1, 0])
    np.testing.assert_allclose(found.task_weights, [1.0, 0.0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tf.eye(2), "are a list"),
        (np.eye(2), "are a list"),
        ([tf.eye(2), None], r"zeros in the place of None.*\[1\]"),
        ([tf.ones((3, 2))], r"have the shape \(2,\)"),
        ([tf.ones(())], r"have the shape \(2,\)"),
    ],
)
def test_other_gradients_are_named(given, message):
    for combiner in (combiners.StaticWeights(), combiners.UPGrad(), combiners.GradDrop()):
        with pytest.raises(ValueError, match=message):
            combiner(given, tf.ones(2))
