"""Weights for a given Gramian, without a model."""

import importlib
import pkgutil

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from mtk.combiners import Combiner
from tests.combiners.cases import CASES, runner
from tests.quick import some

MAKE = {case.name: case.make for case in CASES}


def refuses(combiner):
    """Returns whether a method needs more of a step than inner products and losses."""
    return combiner.changes_gradients or combiner.needs_post_update_loss


ALONE = [name for name, make in MAKE.items() if not refuses(make())]
# Methods with random numbers, with learned weights, of losses alone, and of parts of a batch.
QUICK = ("pcgrad", "gradnorm", "dwa", "modo")


def jacobians(number, num_tasks=3):
    rng = np.random.default_rng(5)
    return rng.normal(size=(number, num_tasks, 7)).astype("float32")


def test_cases_cover_every_combiner_in_the_package():
    """Combiners are found in the modules of the package, exported or not."""
    found = set()
    for file in pkgutil.iter_modules(combiners.__path__, "mtk.combiners."):
        members = vars(importlib.import_module(file.name)).values()
        found |= {m for m in members if isinstance(m, type) and issubclass(m, Combiner)}
    made = {type(make()) for make in MAKE.values()}
    missing = {each.__name__ for each in found - made}
    assert all(name.endswith("Combiner") or name == "Wrapper" for name in missing), missing


@pytest.mark.parametrize("name", some(ALONE, QUICK))
def test_weights_equal_those_of_a_step(name):
    rows = jacobians(2, 5)
    gramians = rows @ rows.transpose(0, 2, 1)
    losses = np.linspace(0.5, 1.5, 5, dtype="float32")
    steps = runner(name, 5)
    steps.restart()
    expected = [steps.again(each, losses).weights for each in rows]
    combiner = MAKE[name]()
    found = [combiner.weights(each, losses) for each in gramians]
    assert isinstance(found[0], np.ndarray)
    # A step computes its own Gramian, whose rounding matters to a solver near a tie.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    many = tf.constant(gramians[:, None])
    together = MAKE[name]().weights(many, tf.broadcast_to(losses, many.shape[:-1]))
    assert tf.is_tensor(together)
    np.testing.assert_allclose(together[:, 0], found, rtol=1e-5, atol=1e-6)
    assert not combiner.built
    assert combiner.variables == []


@pytest.mark.parametrize("name", [name for name in MAKE if name not in ALONE])
def test_methods_that_need_more_are_refused_with_a_hint(name):
    combiner = MAKE[name]()
    kind = type(combiner).__name__
    for gramian in (np.eye(3), tf.eye(3, batch_shape=[2, 1])):
        with pytest.raises(ValueError, match=rf"^{kind} .*combiner\(task_gradients"):
            combiner.weights(gramian, np.ones(gramian.shape[:-1]))


def test_weights_per_example_are_refused():
    with pytest.raises(ValueError, match="RLW weights each example"):
        combiners.RLW(per_example=True).weights(np.eye(2))


def test_methods_that_read_losses_need_them():
    around = combiners.WarmUp(combiners.DWA(steps_per_epoch=2), 1)
    for combiner in (combiners.GLS(), around):
        with pytest.raises(ValueError, match=r"(GLS|WarmUp around DWA) .*task_losses\)"):
            combiner.weights(np.eye(2))
    np.testing.assert_allclose(combiners.StaticWeights().weights(np.eye(4)), 0.25)
    np.testing.assert_allclose(combiners.GLS().weights(np.eye(2), [1, 4]), [1, 0.25], rtol=1e-5)


@pytest.mark.slow
def test_in_a_tf_function():
    rows = jacobians(2, 5)
    gramians = rows @ rows.transpose(0, 2, 1)
    combiner = combiners.MGDA()
    found = tf.function(combiner.weights)(tf.constant(gramians))
    assert tf.is_tensor(found)
    np.testing.assert_allclose(found, combiner.weights(gramians), rtol=1e-5)
    constant = tf.function(lambda: combiner.weights(gramians))()
    np.testing.assert_allclose(constant, found, rtol=1e-5)


def test_number_of_tasks_must_be_static():
    spec = tf.TensorSpec([None, None])
    with pytest.raises(ValueError, match="known K"):
        tf.function(combiners.MGDA().weights, autograph=False).get_concrete_function(spec)


def test_given_losses_are_used():
    gramian = np.diag([1.0, 4.0])
    equal, other = (combiners.MGDA("loss").weights(gramian, losses) for losses in ([1, 1], [1, 2]))
    np.testing.assert_allclose(equal, [0.8, 0.2], rtol=1e-5)
    np.testing.assert_allclose(other, [0.5, 0.5], rtol=1e-5)


def test_state_of_a_built_combiner_does_not_change():
    combiner = combiners.PCGrad(seed=1)
    combiner.bind(["a", "b", "c"], [])
    combiner.build(3)
    before = [v.numpy() for v in combiner.variables]
    assert list(combiner.weights) == combiner.variables
    combiner.weights(np.eye(3))
    combiner.weights(np.eye(4)[None])
    for variable, value in zip(combiner.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize(
    "gramian", [np.ones(3), np.ones((2, 3)), np.ones((4, 2, 3)), np.ones((0, 0))]
)
def test_matrices_that_are_not_square_are_refused(gramian):
    with pytest.raises(ValueError, match="square"):
        combiners.MGDA().weights(gramian)


@pytest.mark.parametrize("invalid", [1j, "a"])
def test_values_must_be_real_numbers(invalid):
    with pytest.raises(ValueError, match="A Gramian must contain real numbers"):
        combiners.MGDA().weights(np.full((2, 2), invalid))
    with pytest.raises(ValueError, match="task losses must contain real numbers"):
        combiners.GLS().weights(np.eye(2), np.full(2, invalid))


def test_losses_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        combiners.MGDA().weights(np.eye(3), [1.0, 2.0])


def test_nonfinite_gramian_gives_nan():
    assert np.isnan(combiners.UPGrad().weights(np.full((3, 3), np.inf))).all()
