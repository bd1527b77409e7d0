"""The meaning of `preference` for every method that has it."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from tests.combiners import samples
from tests.quick import some

NAMES = ("a", "b", "c")
LOSSES = {
    "stch": lambda r: combiners.STCH(1, mu=0.5, warm_up_epochs=0, preference=r),
    "tchebycheff": lambda r: combiners.Tchebycheff(r),
    "pbi": lambda r: combiners.PBI(preference=r),
    "cosmos": lambda r: combiners.COSMOS(preference=r),
}
GRAMIANS = {
    "mgda": lambda r: combiners.MGDA(preference=r),
    "mgda l2": lambda r: combiners.MGDA("l2", preference=r),
    "upgrad": combiners.UPGrad,
    "aligned": combiners.AlignedMTL,
    "cagrad": lambda r: combiners.CAGrad(preference=r),
    "nash": lambda r: combiners.NashMTL(preference=r),
    "nash mean": lambda r: combiners.NashMTL("mean", preference=r),
    "dualproj": combiners.DualProj,
    "config": combiners.ConFIG,
    "fairgrad": lambda r: combiners.FairGrad(preference=r),
    "fairgrad paper": lambda r: combiners.FairGrad(1.0, "paper", r),
}
MAKERS = {**LOSSES, **GRAMIANS}
# Variants that solve the same problem as another method; DualProj that of UPGrad.
OTHER_FORMS = {"mgda l2", "nash mean", "fairgrad paper", "dualproj"}
FORMS = some(MAKERS, MAKERS.keys() - OTHER_FORMS)


@functools.cache
def step(name: str, preference: tuple, order: tuple = NAMES, traced: bool = False):
    """Returns a function of losses, jacobian and presence that gives the weights of two steps."""
    combiner = MAKERS[name](dict(preference) if preference else None)
    combiner.bind(order, [])
    combiner.build(len(order))
    initial = [variable.numpy() for variable in combiner.variables]

    def weights(losses, rows, present):
        if isinstance(combiner, combiners.GramianCombiner):
            return combiner.new_weights(rows @ tf.transpose(rows), losses, present)
        return combiner.task_weights(losses, present, tf.cast(present, tf.float32))

    # A call or two take less time than tracing.
    weights = tf.function(weights, autograph=False) if traced else weights

    def run(losses, rows, present, restart=True):
        for variable, value in zip(combiner.variables, initial if restart else [], strict=restart):
            variable.assign(value)
        everyone = tf.ones(len(order), tf.bool)
        given = tf.constant(losses, tf.float32), tf.constant(rows, tf.float32)
        weights(*given, everyone)
        return weights(*given, tf.constant(present)).numpy()

    return run


def problem(num_tasks: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return samples.losses(num_tasks), samples.jacobian("conflicting", num_tasks, seed=2)


EVERYONE = [True, True, True]
UNEQUAL = ((("a", 100), ("c", 1)), (("a", 1), ("c", 100)))


@pytest.mark.parametrize("name", MAKERS)
def test_only_ratios_of_preferences_matter(name):
    one = step(name, (("a", 1), ("b", 2), ("c", 4)))(*problem(), EVERYONE)
    other = step(name, (("c", 12e8), ("a", 3e8), ("b", 6e8)))(*problem(), EVERYONE)
    np.testing.assert_allclose(other, one, rtol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_no_preference_equals_equal_preferences(name):
    one = step(name, ())(*problem(), EVERYONE)
    other = step(name, (("a", 3), ("b", 3), ("c", 3)))(*problem(), EVERYONE)
    np.testing.assert_array_equal(other, one)
    changed = [step(name, (*one_of, ("b", 1)))(*problem(), EVERYONE) for one_of in UNEQUAL]
    assert all(np.isfinite(weights).all() for weights in changed)
    assert max(np.abs(weights - one).max() for weights in changed) > 0


@pytest.mark.parametrize("name", MAKERS)
def test_preference_permutes_with_the_tasks(name):
    preference = (("a", 1), ("b", 2), ("c", 4))
    losses, rows = problem()
    plain = step(name, preference)(losses, rows, EVERYONE)
    permuted = step(name, preference, ("c", "a", "b"))(losses[[2, 0, 1]], rows[[2, 0, 1]], EVERYONE)
    np.testing.assert_allclose(permuted, plain[[2, 0, 1]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", some(MAKERS, MAKERS.keys() - OTHER_FORMS - {"cagrad", "upgrad"}))
def test_zero_preference_excludes_the_task(name):
    """The task has no effect, as if it were absent."""
    losses, rows = problem()
    without = step(name, (("a", 1), ("b", 0), ("c", 2)))(losses, rows, EVERYONE)
    absent = step(name, (("a", 1), ("b", 5), ("c", 2)))
    expected = absent(losses * [1, 0, 1], rows * [[1], [0], [1]], [True, False, True])
    assert without[1] == 0
    np.testing.assert_allclose(without, expected, rtol=1e-5)
    other = step(name, (("a", 1), ("b", 0), ("c", 2)))
    losses, rows = losses * [1, 9, 1], rows * [[1], [-7], [1]]
    np.testing.assert_allclose(other(losses, rows, EVERYONE), without, rtol=1e-5)
    # Only the excluded task is present.
    np.testing.assert_array_equal(other(losses, rows, [False, True, False]), 0)


# Losses of two tasks, `(x - c)' A (x - c)`: the matrices A, the points c, and the initial x.
ROUND = (
    np.array([np.eye(2), 2.0 * np.eye(2)]),
    np.array([[0.0, 0.0], [1.0, 0.5]]),
    np.array([0.4, 1.5]),
)


def reached(name: str, preference: float, problem=ROUND, steps: int = 40) -> np.ndarray:
    """Returns the losses of two tasks after gradient descent."""
    run = step(name, (("a", preference), ("b", 1.0)), ("a", "b"), True)
    curved, centres, point = problem
    for turn in range(steps):
        ways = point - centres
        slopes = np.einsum("kij,kj->ki", curved, ways)
        losses = 0.05 + (ways * slopes).sum(1)
        weights = run(losses, 2 * slopes, [True, True], restart=turn == 0)
        point = point - 0.15 / (1 + 0.15 * turn) * np.clip(weights, -5, 5) @ (2 * slopes)
    return losses


# By default a method of losses and two with solvers.
@pytest.mark.parametrize("name", some(MAKERS, {"stch", "mgda", "upgrad"}))
def test_a_larger_preference_means_a_smaller_loss(name):
    first, second, third = (reached(name, preference) for preference in (0.4, 1.0, 2.5))
    assert first[0] > second[0] > third[0]
    assert first[1] < second[1] < third[1]


# Methods that steer by angles may stall, see `docs/howto/preferences.md`; other methods stop at any
# point of the front, or need smaller steps.
MONOTONE = ("mgda l2", "upgrad", "dualproj", "cagrad", "stch", "tchebycheff", "pbi", "cosmos")


@pytest.mark.parametrize("seed", some(range(4), range(2)))
@pytest.mark.parametrize("name", some(MONOTONE, {"upgrad", "stch"}))
def test_a_larger_preference_means_a_smaller_loss_on_random_convex_problems(name, seed):
    """Curvatures differ by a factor of up to eight, in different directions for each task."""
    rng = np.random.default_rng(seed)
    turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2)]
    curved = np.array([turn @ np.diag(rng.uniform(0.2, 1.6, 3)) @ turn.T for turn in turns])
    problem = (curved, rng.normal(size=(2, 3)), 2.0 * rng.normal(size=3))
    found = np.array([reached(name, each, problem, 150) for each in (0.3, 1.0, 3.0)])
    assert found[0, 0] > found[1, 0] > found[2, 0]
    assert found[0, 1] < found[1, 1] < found[2, 1]


BAD = [
    {"a": -1, "b": 2, "c": 1},
    {"a": 0, "b": 0.0},
    [0, 0, 0],
    [],
    0.0,
    [1, float("nan"), 1],
    {"a": float("inf"), "b": 1},
    "much",
    [[1, 2], [3, 4]],
    {"a": "much"},
]


@pytest.mark.parametrize("preference", BAD, ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_invalid_preferences(name, preference):
    with pytest.raises(ValueError, match="`preference`"):
        MAKERS[name](preference)


@pytest.mark.parametrize("preference", [{"a": 1, "b": 1, "d": 1}, {"a": 1}, [1, 2]], ids=str)
@pytest.mark.parametrize("name", MAKERS)
def test_preferences_that_do_not_match_the_tasks(name, preference):
    combiner = MAKERS[name](preference)
    combiner.bind(NAMES, [])
    with pytest.raises(ValueError, match="`preference`"):
        combiner.build(3)
