"""Weights for a given Gramian, without a model."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from mtk.combiners import GramianCombiner
from tests.combiners.cases import CASES, runner
from tests.quick import some

GRAMIAN = [
    case.name
    for case in CASES
    # Others need the variables, and say so.
    if isinstance(case.make(), GramianCombiner) and not case.make().changes_gradients
]
MAKE = {case.name: case.make for case in CASES}
# With losses, random numbers, learned weights, an iterated solver and one of projections.
QUICK = ("mgda loss", "pcgrad", "gradnorm", "nash", "upgrad")


def jacobians(number, num_tasks=3):
    rng = np.random.default_rng(5)
    return rng.normal(size=(number, num_tasks, 7)).astype("float32")


def test_there_are_such_methods():
    assert len(GRAMIAN) > 10


@pytest.mark.parametrize("name", some(GRAMIAN, QUICK))
def test_weights_are_those_of_a_step(name):
    rows = jacobians(2, 5)
    gramians = rows @ rows.transpose(0, 2, 1)
    steps = runner(name, 5)
    steps.restart()
    expected = [steps.again(each).weights for each in rows]
    combiner = MAKE[name]()
    found = [combiner.weights(each) for each in gramians]
    assert isinstance(found[0], np.ndarray)
    # A step adds up its own Gramian, which a solver near a tie may see.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    together = MAKE[name]().weights(gramians[:, None])
    np.testing.assert_allclose(together[:, 0], found, rtol=1e-5, atol=1e-6)
    assert not combiner.built
    assert combiner.variables == []


def test_in_a_function_of_ones_own():
    rows = jacobians(2, 5)
    gramians = rows @ rows.transpose(0, 2, 1)
    combiner = combiners.MGDA()
    found = tf.function(combiner.weights)(tf.constant(gramians))
    assert tf.is_tensor(found)
    np.testing.assert_allclose(found, combiner.weights(gramians), rtol=1e-5)
    constant = tf.function(lambda: combiner.weights(gramians))()
    np.testing.assert_allclose(constant, found, rtol=1e-5)


def test_the_number_of_tasks_has_to_be_known():
    spec = tf.TensorSpec([None, None])
    with pytest.raises(ValueError, match="known K"):
        tf.function(combiners.MGDA().weights, autograph=False).get_concrete_function(spec)


def test_losses_are_read_where_a_method_reads_them():
    gramian = np.diag([1.0, 4.0])
    equal, other = (combiners.MGDA("loss").weights(gramian, losses) for losses in ([1, 1], [1, 2]))
    np.testing.assert_allclose(equal, [0.8, 0.2], rtol=1e-5)
    np.testing.assert_allclose(other, [0.5, 0.5], rtol=1e-5)


def test_a_model_does_not_see_it():
    combiner = combiners.PCGrad(seed=1)
    combiner.bind(["a", "b", "c"], [])
    combiner.build(3)
    before = [v.numpy() for v in combiner.variables]
    assert list(combiner.weights) == combiner.variables
    combiner.weights(np.eye(3))
    combiner.weights(np.eye(4)[None])
    for variable, value in zip(combiner.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize("gramian", [np.ones(3), np.ones((2, 3)), np.ones((4, 2, 3))])
def test_what_is_no_gramian_is_named(gramian):
    with pytest.raises(ValueError, match="square"):
        combiners.MGDA().weights(gramian)


def test_losses_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        combiners.MGDA().weights(np.eye(3), [1.0, 2.0])


def test_not_finite():
    assert np.isnan(combiners.UPGrad().weights(np.full((3, 3), np.inf))).all()
