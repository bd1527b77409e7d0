"""Networks that read the task weights drawn by the combiner."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk import checkpoints
from mtk.combiners import RLW, PCGrad, StaticWeights, WarmUp
from mtk.models import at, conditioned, conditioning
from mtk.trainer import step
from tests.quick import some

TASKS = ("left", "right", "size")
# The task order of the network differs from that of the model.
ORDER = ("size", "left", "right")


def network():
    inputs = keras.Input((4,))
    x = layers.Dense(5, "tanh", name="trunk")(inputs)
    return keras.Model(inputs, {name: layers.Dense(1, name=name)(x) for name in TASKS})


def perturbed(**options):
    found = conditioned(network(), ["trunk"], hidden=3, task_names=ORDER, **options)
    rng = np.random.default_rng(3)
    found.set_weights([w + rng.normal(size=w.shape) / 4 for w in found.get_weights()])
    return found


def batch(size=8, seed=0):
    rng = np.random.default_rng(seed)
    y = {name: rng.normal(size=(size, 1)).astype("float32") for name in TASKS}
    y["right"][1] = np.nan
    return rng.normal(size=(size, 4)).astype("float32"), y


def model(combiner, made=None, **options):
    keras.utils.set_random_seed(0)
    tasks = [mtk.Task(name, "mse", missing=float("nan")) for name in TASKS]
    found = mtk.MultiTaskModel(made or perturbed(), tasks, combiner)
    found.compile(keras.optimizers.SGD(0.05, momentum=0.9), **options)
    return found


def gradients_by_tape(trained, drawn, x, y):
    """Computes the gradients of the weighted losses without the trainer."""
    rows = tf.gather(drawn, [TASKS.index(name) for name in ORDER], axis=1)
    with tf.GradientTape() as tape:
        outputs = trained.network([tf.constant(x), rows])
        total = 0.0
        for k, name in enumerate(TASKS):
            there = ~np.isnan(y[name][:, 0])
            squares = (outputs[name] - np.nan_to_num(y[name]))[:, 0] ** 2
            total += tf.reduce_sum((drawn[:, k] * squares)[there]) / there.sum()
    return tape.gradient(total, trained.network.trainable_variables)


DRAWN = list(itertools.product([1, 2], [False, True]))


@pytest.mark.parametrize(("micro_batches", "per_example"), some(DRAWN, [DRAWN[3]]))
def test_network_and_losses_use_the_drawn_weights(micro_batches, per_example):
    combiner = RLW("dirichlet", seed=3, per_example=per_example)
    trained, (x, y) = model(combiner, micro_batches=micro_batches), batch()
    trained.inspect((x, y))
    seen = []
    for _ in range(2):
        drawn = trained.combiner.next_weights(8)
        result = step.compute(trained.step_spec(), (x, y))
        expected = gradients_by_tape(trained, drawn, x, y)
        for variable, found in zip(result.variables, result.gradients, strict=True):
            index = [v is variable for v in trained.network.trainable_variables].index(True)
            np.testing.assert_allclose(found, expected[index], rtol=1e-4, atol=1e-6)
        if not per_example:
            np.testing.assert_allclose(result.task_weights, drawn[0], rtol=1e-5)
        trained.apply(trained.step_spec(), result)
        seen.append(drawn.numpy())
    number = 16 if per_example else 2
    assert len(np.unique(np.concatenate(seen)[:, 0])) == number


@pytest.mark.slow
def test_logged_losses_are_unweighted():
    """Logged losses are unweighted means, equal to those of `evaluate`."""
    trained, (x, y) = model(RLW(per_example=True), untrained()), batch()
    logs = trained.evaluate(x, y, verbose=0, return_dict=True)
    first = trained.train_on_batch(x, y, return_dict=True)
    for name in TASKS:
        np.testing.assert_allclose(first[f"{name}_loss"], logs[f"{name}_loss"], rtol=1e-5)


def untrained():
    """Returns an untrained network, whose outputs do not depend on the weights yet."""
    return conditioned(network(), ["trunk"], hidden=3)


@pytest.mark.slow
@pytest.mark.parametrize("per_example", some([False, True], [True]))
def test_resumed_run_continues_the_same_draws(per_example):
    batches = tf.data.Dataset.from_tensor_slices(batch(48)).batch(8)
    first, second = (model(RLW(seed=7, per_example=per_example)) for _ in range(2))
    first.fit(batches.take(3), verbose=0, shuffle=False)
    kept = checkpoints.values(first)
    first.fit(batches.skip(3), verbose=0, shuffle=False)
    second.fit(batches.take(1), verbose=0, shuffle=False)
    checkpoints.assign(second, kept)
    second.fit(batches.skip(3), verbose=0, shuffle=False)
    for one, two in zip(first.network.weights, second.network.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_evaluation_uses_the_preference():
    preference = {"left": 1, "right": 5, "size": 2}
    trained, (x, y) = model(RLW(), perturbed(preference=preference)), batch()
    fixed = model(StaticWeights(), at(trained.network, preference), run_eagerly=True)
    logs = trained.evaluate(x, y, verbose=0, return_dict=True)
    assert logs == pytest.approx(fixed.evaluate(x, y, verbose=0, return_dict=True), rel=1e-5)
    outputs = trained.predict(x, verbose=0)
    np.testing.assert_allclose(outputs["left"], fixed.predict(x, verbose=0)["left"], rtol=1e-5)
    points = mtk.front(trained, (x, y), [{"left": 3, "right": 1, "size": 0}, (2, 1, 5)], 4)
    assert points[1].pop("weights") == {"size": 0.25, "left": 0.125, "right": 0.625}
    assert points[1] == pytest.approx(logs, rel=1e-5)
    elsewhere = model(StaticWeights(), at(trained.network, [0, 3, 1]), run_eagerly=True)
    of_first = elsewhere.evaluate(x, y, verbose=0, return_dict=True)
    assert {n: points[0][n] for n in of_first} == pytest.approx(of_first, rel=1e-5)


def test_front_ignores_task_weights_in_the_data():
    trained, (x, y) = model(RLW()), batch()
    rows = np.full((8, 3), 1 / 3, "float32")
    batches = tf.data.Dataset.from_tensors(((x, rows), y))
    assert mtk.front(trained, batches, [(1, 0, 0)]) == mtk.front(trained, (x, y), [(1, 0, 0)])


@pytest.mark.slow
@pytest.mark.parametrize("per_example", some([False, True], [True]))
def test_learned_front_matches_the_closed_form(per_example):
    """`w_a (t - 1)^2 + w_b (t + 1)^2` is minimal at `t = w_a - w_b`, which gives the front."""
    inputs = keras.Input((1,))
    x = layers.Dense(1, kernel_initializer="zeros", name="trunk")(inputs)
    outputs = {name: layers.Identity(name=name)(x) for name in ("a", "b")}
    made = conditioned(keras.Model(inputs, outputs), ["trunk"], hidden=16, seed=0)
    combiner = RLW("dirichlet", per_example=per_example)
    trained = mtk.MultiTaskModel(made, [mtk.Task(n, "mse") for n in "ab"], combiner)
    trained.compile(keras.optimizers.Adam(0.02), steps_per_execution=50)
    x, y = np.zeros((16, 1)), {"a": np.ones((16, 1)), "b": -np.ones((16, 1))}
    batches = tf.data.Dataset.from_tensors((x, y)).repeat(600)
    trained.fit(batches, verbose=0)
    given = [0.1, 0.3, 0.5, 0.7, 0.9]
    points = mtk.front(trained, (x, y), [{"a": w, "b": 1 - w} for w in given])
    found = np.array([[point["a_loss"], point["b_loss"]] for point in points])
    assert (np.diff(found, axis=0) * [-1, 1] > 0).all()
    for (a_loss, b_loss), weight in zip(found, given, strict=True):
        np.testing.assert_allclose(np.sqrt(a_loss), 2 * (1 - weight), atol=0.1)
        np.testing.assert_allclose(np.sqrt(b_loss), 2 * weight, atol=0.1)


X, Y = batch()
HELD = ((X, np.full((8, 3), 1 / 3, "float32")), Y)
ERRORS = {
    "knows none": (
        lambda: model(PCGrad()).check((X, Y)),
        "PCGrad has none before the step",
    ),
    "two kinds": (lambda: model(RLW()).check(HELD), "Leave 'task_weights' out"),
    "plain network": (
        lambda: model(RLW(per_example=True), network()).check((X, Y)),
        "does not read task weights",
    ),
    "other tasks": (
        lambda: model(RLW(), conditioned(network(), ["trunk"], task_names=("a", "b", "c"))).check(
            (X, Y)
        ),
        r"\['a', 'b', 'c'\].*\['left', 'right', 'size'\]",
    ),
    "front": (lambda: mtk.front(model(RLW(), network()), (X, Y), [(1, 1, 1)]), "conditioned"),
    "negative": (lambda: mtk.front(model(RLW()), (X, Y), [(1, -1, 1)]), "non-negative"),
    "wrapped": (lambda: WarmUp(RLW(per_example=True), 3), "per_example=False"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_invalid_uses_are_refused(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_task_weights_may_be_part_of_the_data():
    """They are given per example, with any combiner."""
    trained = model(StaticWeights())
    trained.check(HELD)
    trained.fit(tf.data.Dataset.from_tensors(HELD), verbose=0)
    assert conditioning.has_weights(trained.network, HELD[0])
