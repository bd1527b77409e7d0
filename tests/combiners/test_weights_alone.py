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
    """Whether a method sees more of a step than inner products and losses."""
    return combiner.changes_gradients or combiner.needs_post_update_loss


ALONE = [name for name, make in MAKE.items() if not refuses(make())]
# With random numbers, learned weights, an iterated solver and one of projections; of losses alone,
# of parts of a batch, and around another one.
QUICK = ("pcgrad", "gradnorm", "dwa", "modo")


def jacobians(number, num_tasks=3):
    rng = np.random.default_rng(5)
    return rng.normal(size=(number, num_tasks, 7)).astype("float32")


def test_every_combiner_of_the_package_is_tried():
    """Found in its files: `CASES` may miss none, exported or not."""
    found = set()
    for file in pkgutil.iter_modules(combiners.__path__, "mtk.combiners."):
        members = vars(importlib.import_module(file.name)).values()
        found |= {m for m in members if isinstance(m, type) and issubclass(m, Combiner)}
    made = {type(make()) for make in MAKE.values()}
    missing = {each.__name__ for each in found - made}
    assert all(name.endswith("Combiner") or name == "Wrapper" for name in missing), missing


@pytest.mark.parametrize("name", some(ALONE, QUICK))
def test_weights_are_those_of_a_step(name):
    rows = jacobians(2, 5)
    gramians = rows @ rows.transpose(0, 2, 1)
    losses = np.linspace(0.5, 1.5, 5, dtype="float32")
    steps = runner(name, 5)
    steps.restart()
    expected = [steps.again(each, losses).weights for each in rows]
    combiner = MAKE[name]()
    found = [combiner.weights(each, losses) for each in gramians]
    assert isinstance(found[0], np.ndarray)
    # A step adds up its own Gramian, which a solver near a tie may see.
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)
    many = tf.constant(gramians[:, None])
    together = MAKE[name]().weights(many, tf.broadcast_to(losses, many.shape[:-1]))
    assert tf.is_tensor(together)
    np.testing.assert_allclose(together[:, 0], found, rtol=1e-5, atol=1e-6)
    assert not combiner.built
    assert combiner.variables == []


@pytest.mark.parametrize("name", [name for name in MAKE if name not in ALONE])
def test_who_needs_more_says_what_to_write(name):
    combiner = MAKE[name]()
    kind = type(combiner).__name__
    for gramian in (np.eye(3), tf.eye(3, batch_shape=[2, 1])):
        with pytest.raises(ValueError, match=rf"^{kind} .*combiner\(task_gradients"):
            combiner.weights(gramian, np.ones(gramian.shape[:-1]))


def test_examples_have_no_weights_for_a_gramian():
    with pytest.raises(ValueError, match="RLW weights each example"):
        combiners.RLW(per_example=True).weights(np.eye(2))


def test_losses_that_a_method_reads_are_asked_for():
    around = combiners.WarmUp(combiners.DWA(steps_per_epoch=2), 1)
    for combiner in (combiners.GLS(), around):
        with pytest.raises(ValueError, match=r"(GLS|WarmUp around DWA) .*task_losses\)"):
            combiner.weights(np.eye(2))
    np.testing.assert_allclose(combiners.StaticWeights().weights(np.eye(4)), 0.25)
    np.testing.assert_allclose(combiners.GLS().weights(np.eye(2), [1, 4]), [1, 0.25], rtol=1e-5)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "gramian", [np.ones(3), np.ones((2, 3)), np.ones((4, 2, 3)), np.ones((0, 0))]
)
def test_what_is_no_gramian_is_named(gramian):
    with pytest.raises(ValueError, match="square"):
        combiners.MGDA().weights(gramian)


@pytest.mark.parametrize("strange", [1j, "a"])
def test_numbers_are_real(strange):
    with pytest.raises(ValueError, match="A Gramian must contain real numbers"):
        combiners.MGDA().weights(np.full((2, 2), strange))
    with pytest.raises(ValueError, match="task losses must contain real numbers"):
        combiners.GLS().weights(np.eye(2), np.full(2, strange))


def test_losses_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        combiners.MGDA().weights(np.eye(3), [1.0, 2.0])


def test_not_finite():
    assert np.isnan(combiners.UPGrad().weights(np.full((3, 3), np.inf))).all()
