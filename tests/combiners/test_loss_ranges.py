"""Weights and state for losses of any sign and size."""

import itertools
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import combiners
from mtk.combiners import cagrad
from mtk.combiners.solvers import max_min
from tests.combiners import samples
from tests.combiners.cases import CASES, Runner, runner
from tests.combiners.test_learned import ALL, built, each_of
from tests.quick import latin, slow, some

COURSES = {
    "falls below zero": lambda t: 1.0 - 0.15 * t,
    "negative from the start": lambda t: -1.0 - 0.1 * t,
    "rises above zero": lambda t: -0.5 + 0.1 * t,
    "zero": lambda t: 0.0,
    "zero at first": lambda t: 0.0 if t < 3 else 1.0,
    "reaches zero": lambda t: max(1.0 - 0.2 * t, 0.0),
    "to and fro": lambda t: (-1.0) ** t,
}


NAMES = [case.name for case in CASES]
SCALES = [1e-10, 1e-3, 1.0, 1e6]


# Methods that read losses; the others run with fewer courses of losses.
READING = {case.name for case in CASES if case.make().reads == "losses"}
READING |= {"gradnorm", "imtl", "mgda loss", "mgda loss+", "db-mtl", "db-mtl newest", "excess"}
READING |= {"auto-lambda", "moml", "forum", "cr-mogm losses", "warm-up famo", "subset losses"}


def every_course():
    for case in latin(NAMES, list(COURSES), SCALES):
        quick = hasattr(case, "marks") or case[0] in READING or case[1] == "to and fro"
        yield case if quick else slow(case)


@pytest.mark.parametrize(("name", "course", "scale"), every_course())
def test_losses_of_any_sign(name, course, scale):
    """Weights, direction and state stay finite."""
    run = runner(name, 5)
    run.restart()
    jacobian = samples.jacobian("conflicting", 5)
    for step in range(12):
        others = [0.9**step, 2 * 0.95**step, 0.5 * 0.8**step, 3.0]
        losses = np.array([COURSES[course](step), *others]) * scale
        outcome = run.again(jacobian, losses.astype(np.float32))
        assert np.isfinite(outcome.weights).all()
        assert np.isfinite(outcome.direction).all()
        if run.combiner.needs_post_update_loss:
            after = tf.constant(losses * [1.0, 0.9, 0.95, 0.8, 1.0], tf.float32)
            run.combiner.after_step(tf.constant(losses, tf.float32), after, tf.ones(5, tf.bool))
    for variable in run.combiner.variables:
        assert np.isfinite(variable.numpy()).all(), variable.path


BOUNDED = {
    "gls": combiners.GLS,
    "warm-up": lambda: combiners.WarmUp(combiners.FAMO(), 1),
    "unit gradients": lambda: combiners.UnitGradients(combiners.DBMTL(beta=0.0)),
}
LOWEST = list(itertools.product(BOUNDED, [-1.0, 0.0]))


# At the bound there is no warning, whatever wraps the method.
@pytest.mark.parametrize(("name", "lowest"), some(LOWEST, [LOWEST[i] for i in (0, 4)]))
def test_losses_below_their_bound_give_one_warning(name, lowest):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    tasks = [
        mtk.Task("low", lambda y, p: tf.reduce_mean(y + 1e-3 * p**2, -1)),
        mtk.Task("usual", "mse"),
    ]
    both = keras.Model(network.inputs, {task.name: network.outputs[0] for task in tasks})
    model = mtk.MultiTaskModel(both, tasks, combiner=BOUNDED[name]())
    model.compile("sgd")
    y = {"low": np.full((8, 1), lowest), "usual": np.ones((8, 1))}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(np.ones((8, 2)), y, epochs=3, verbose=0)
    about = [str(each.message) for each in told if "bounds" in str(each.message)]
    assert len(about) == (lowest < 0)
    assert all("['low'] fell below [0.0]" in text for text in about)


def test_inexact_weights_give_one_warning(monkeypatch):
    monkeypatch.setattr(max_min, "MOST_ITERATIONS", 0)
    # A separate function, which shares no traced graph with other tests.
    monkeypatch.setattr(cagrad, "dual", max_min.dual.python_function)
    x = keras.Input((3,))
    hidden = keras.layers.Dense(4)(x)
    network = keras.Model(x, {name: keras.layers.Dense(1, name=name)(hidden) for name in "abcde"})
    model = mtk.MultiTaskModel(network, combiner=combiners.WarmUp(combiners.CAGrad(), 1))
    model.compile("sgd", dict.fromkeys("abcde", "mse"))
    rng = np.random.default_rng(0)
    y = {name: rng.normal(size=(8, 1)) for name in "abcde"}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(rng.normal(size=(8, 3)), y, epochs=4, verbose=0)
    (about,) = [str(each.message) for each in told if "exact" in str(each.message)]
    assert about.startswith("The solver of CAGrad reached its iteration limit in 1 step")


def gradnorm(losses: list[list[float]], steps: int = 1, **options: object) -> combiners.GradNorm:
    """Returns a GradNorm after these losses of two tasks, the last of them `steps` times."""
    combiner = built(combiners.GradNorm(**options))
    gramian = tf.constant([[1.0, 0.0], [0.0, 1.0]])
    rows = tf.constant([*losses[:-1], *[losses[-1]] * steps], tf.float32)
    each_of(rows, lambda losses: combiner.new_weights(gramian, losses, ALL))
    return combiner


@pytest.mark.parametrize("scale", some([1e-6, 1.0, 1e6], [1e-6]))
@pytest.mark.parametrize(
    "losses",
    [
        [[1.0, 1.0], [-0.5, 0.5]],
        [[-3.0, 1.0], [-5.0, 0.1]],
        [[-3.0, 1.0], [4.0, 0.1]],
        [[1.0, 1.0], [-0.1, 0.2], [0.3, 0.2]],
    ],
)
def test_gradnorm_balances_a_negative_loss_by_its_norm(losses, scale):
    """A negative loss has no rate: equal norms give equal weights, as with `alpha = 0`."""
    combiner = gradnorm((np.array(losses) * scale).tolist(), 200, learning_rate=0.01)
    np.testing.assert_allclose(combiner.learned_weights, 1.0, atol=0.03)


def test_gradnorm_rates_of_the_others_are_relative_to_their_own_mean():
    combiner = built(combiners.GradNorm(alpha=1.0), ("a", "b", "c"))
    everyone = tf.ones(3, tf.bool)
    combiner._rates(tf.constant([2.0, 1.0, -1.0]), everyone)
    rates = combiner._rates(tf.constant([1.0, 1.0, -7.0]), everyone)
    np.testing.assert_allclose(rates, [2 / 3, 4 / 3, 1.0], rtol=1e-6)


@pytest.mark.parametrize("given", [None, [2.0, 1.0]])
def test_gradnorm_rates_of_a_loss_of_zero(given):
    """One loss of zero has the lowest rate; two of them have equal rates."""
    combiner = built(combiners.GradNorm(initial_losses=given))
    combiner._rates(tf.constant([2.0, 1.0]), ALL)
    np.testing.assert_allclose(combiner._rates(tf.constant([0.0, 1.0]), ALL), [0.0, 2.0])
    np.testing.assert_allclose(combiner._rates(tf.constant([0.0, 0.0]), ALL), [1.0, 1.0])
    # Negative values of the size of rounding count as zero.
    np.testing.assert_allclose(combiner._rates(tf.constant([-1e-7, 1.0]), ALL), [0.0, 2.0])
    np.testing.assert_allclose(combiner._rates(tf.constant([1.0, 0.5]), ALL), [1.0, 1.0])


def test_gradnorm_ignores_a_first_loss_of_zero():
    combiner = built(combiners.GradNorm())
    np.testing.assert_allclose(combiner._rates(tf.constant([0.0, 1.0]), ALL), [1.0, 1.0])
    combiner._rates(tf.constant([4.0, 1.0]), ALL)
    np.testing.assert_allclose(combiner._rates(tf.constant([1.0, 0.5]), ALL), [2 / 3, 4 / 3])


SIZES = [1e-12, 1e-6, 1.0, 1e6, 1e12]


@pytest.mark.parametrize(("first", "second"), itertools.product(SIZES, SIZES))
def test_famo_gives_no_weight_to_a_loss_at_its_bound(first, second):
    """Pitfall: a loss of exactly zero gets all the weight. Tested in different units."""
    combiner = built(combiners.FAMO(), ("a", "b", "c"))
    everyone = tf.ones(3, tf.bool)
    start = np.array([first, second, second], np.float32)
    combiner.task_weights(tf.constant(start), everyone, tf.ones(3))
    found = combiner.task_weights(
        tf.constant(start * [0, 1, 1], tf.float32), everyone, tf.ones(3)
    ).numpy()
    np.testing.assert_allclose(found, [0, 0.5, 0.5], rtol=1e-5)
    # Also a loss that was never above zero.
    fresh = built(combiners.FAMO(), ("a", "b", "c"))
    found = fresh.task_weights(
        tf.constant(start * [0, 1, 1], tf.float32), everyone, tf.ones(3)
    ).numpy()
    np.testing.assert_allclose(found, [0, 0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize("scale", SIZES)
def test_famo_equals_the_paper_away_from_the_bounds(scale):
    """`p / (L - b)`, normalized, for distances over two orders of magnitude."""
    rng = np.random.default_rng(0)
    combiner = built(combiners.FAMO(bounds=[0.0, scale, -scale]), tuple("abc"))
    bounds = np.array([0.0, scale, -scale])
    combiner.logits.assign([0.3, -0.2, 0.5])
    everyone, preferences = tf.ones(3, tf.bool), np.exp([0.3, -0.2, 0.5])
    combiner.task_weights(tf.constant(bounds + scale, tf.float32), everyone, tf.ones(3))
    for _ in range(20):
        distances = scale * 10 ** rng.uniform(-0.5, 2, 3)
        losses = tf.constant(bounds + distances, tf.float32)
        found = combiner.task_weights(losses, everyone, tf.ones(3))
        expected = preferences / distances
        np.testing.assert_allclose(found, expected / expected.sum(), rtol=2e-5)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_famo_weights_are_continuous_near_a_bound(scale):
    """As the loss falls, its weight rises up to the closeness, and then falls to zero."""
    combiner = built(combiners.FAMO())
    step = tf.function(
        lambda losses: combiner.task_weights(losses, ALL, tf.ones(2)), autograph=False
    )
    course = np.concatenate([np.logspace(0, -9, 400), [0.0]])
    rows = [tf.constant([loss * scale, scale], tf.float32) for loss in course]
    weights = np.array([step(row)[0] for row in rows])
    top = int(np.argmax(weights))
    np.testing.assert_allclose(course[top], 1e-3, rtol=0.05)
    assert (np.diff(weights[: top + 1]) >= 0).all()
    assert (np.diff(weights[top:]) <= 0).all()
    assert np.abs(np.diff(weights)).max() < 0.05
    assert weights[-1] == 0


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_famo_does_not_depend_on_units(unit):
    """A loss in another unit gives the same logits, also after losses of zero."""
    logits = []
    for size in (1.0, unit):
        combiner = built(combiners.FAMO(learning_rate=0.1))
        course = np.array([[1, 1], [0.5, 0.9], [0, 0.8], [0, 0.7]]) * [size, 1]
        for before, after in itertools.pairwise(tf.constant(course, tf.float32)):
            combiner.task_weights(before, ALL, tf.ones(2))
            combiner.after_step(before, after, ALL)
        logits.append(combiner.logits.numpy())
    np.testing.assert_allclose(logits[0], logits[1], rtol=1e-4)
    assert np.abs(logits[0]).max() > 0.1


def test_famo_trains_other_tasks_beside_a_loss_of_zero():
    """Of two squares, one starts at its minimum, and the other one reaches it."""
    combiner = built(combiners.FAMO())
    x = tf.Variable([0.0, 1.0])
    for _ in range(60):
        weights = combiner.task_weights(x**2, ALL, tf.ones(2))
        before = x**2
        x.assign_sub(0.1 * weights * 2 * x)
        combiner.after_step(before, x**2, ALL)
    assert abs(x.numpy()[1]) < 1e-3


@pytest.mark.parametrize("name", ["gradnorm", "famo"])
def test_save_and_load_state_of_losses(name):
    """Which loss was negative, and the first distances, are restored."""
    case = next(case for case in CASES if case.name == name)
    jacobian = samples.jacobian("conflicting", 3)
    losses = np.array([-1.0, 0.5, 2.0], np.float32)
    run, copy = runner(name, 3), Runner(case, 3)
    run(jacobian, losses, steps=2)
    store: dict = {}
    run.combiner.save_own_variables(store)
    copy.combiner.load_own_variables({key: np.array(value) for key, value in store.items()})
    later = np.array([0.5, 0.0, 1.0], np.float32)
    expected, found = run.again(jacobian, later), copy.again(jacobian, later)
    np.testing.assert_array_equal(found.weights, expected.weights)
