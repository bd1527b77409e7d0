"""Mixed precision: gradients are close to those of float32, losses are scaled as in Keras."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import combiners
from tests import networks
from tests.quick import slow, some

# Relative rounding errors of a Gramian: bfloat16 has 8 bits, float16 has 11.
ERRORS = {"mixed_bfloat16": 0.03, "mixed_float16": 0.005}


@contextlib.contextmanager
def policy(name):
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def stepped(name, kind, combiner, way="auto", micro_batches=1, **compiled):
    """Takes one step; returns the Gramian and the change of the trainable variables."""
    with policy(name):
        keras.utils.set_random_seed(4)
        network = networks.NETWORKS[kind]()
        model = mtk.MultiTaskModel(network, networks.tasks(), combiner, gradients=way)
        optimizer = keras.optimizers.SGD(1.0)
        if name == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=256.0)
        model.compile(optimizer, micro_batches=micro_batches, **compiled)
    model.gradient_schedule.diagnostics_every = 1
    before = [v.numpy() for v in network.trainable_variables]
    model.fit(tf.data.Dataset.from_tensors(networks.batch(kind, size=12)), verbose=0)
    after = [v.numpy() for v in network.trainable_variables]
    assert model.optimizer.iterations.numpy() == 1
    assert model.last_gramian.dtype == "float32"
    steps = [(b - a).ravel() for b, a in zip(before, after, strict=True)]
    return model.last_gramian.numpy(), np.concatenate(steps)


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


WAYS = [("dense", "vectorized", 1), ("convolutional", "unrolled", 1), ("attention", "loop", 3)]
CASES = [(*way, precision) for way in WAYS for precision in ERRORS]
QUICK = [(*WAYS[0], "mixed_float16")]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "way", "micro_batches", "precision"), some(CASES, QUICK))
def test_gradients_of_every_strategy_are_close_to_float32(kind, way, micro_batches, precision):
    single = stepped("float32", kind, combiners.StaticWeights(), way, run_eagerly=True)
    mixed = stepped(precision, kind, combiners.StaticWeights(), way, micro_batches)
    for found, expected in zip(mixed, single, strict=True):
        # Rounding changes which elements max pooling selects, and so their gradients.
        factor = 5 if kind == "convolutional" else 1
        assert 0 < distance(found, expected) < factor * ERRORS[precision]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "make"),
    [
        slow(("mixed_float16", combiners.FAMO)),
        slow(("mixed_bfloat16", combiners.GradNorm)),
        slow(("mixed_float16", lambda: combiners.MGDA(at="representation"))),
        ("mixed_bfloat16", lambda: combiners.GradDrop(at="representation", leak=1.0)),
    ],
    ids=["famo", "gradnorm", "mgda-ub", "graddrop"],
)
def test_steps_of_combiners_are_close_to_float32(make, precision):
    (gramian, step), (gramian_16, step_16) = (
        stepped(name, "embedding", make(), run_eagerly=name == "float32")
        for name in ("float32", precision)
    )
    assert distance(step_16, step) < 2 * ERRORS[precision]
    if gramian.any():
        assert distance(gramian_16, gramian) < ERRORS[precision]


def tiny(network, at="parameters"):
    """Returns a model whose task gradients are about 1e-9."""

    def loss(y_true, y_pred):
        return 1e-9 * tf.reduce_mean(tf.square(y_true - y_pred), -1)

    return mtk.MultiTaskModel(
        network, [mtk.Task(name, loss) for name in ("a", "b")], combiners.MGDA(at=at)
    )


@pytest.mark.parametrize(
    ("precision", "at"),
    [
        *[("mixed_float16", "parameters"), slow(("mixed_float16", "representation"))],
        *[("mixed_bfloat16", "representation"), slow(("mixed_bfloat16", "parameters"))],
    ],
)
def test_gradients_of_1e_9_do_not_underflow(precision, at):
    expected, found = tiny_gramian("float32", at), tiny_gramian(precision, at)
    assert 0 < expected.max() < 1e-16
    assert distance(found, expected) < ERRORS[precision]


@functools.cache
def tiny_gramian(precision, at):
    with policy(precision):
        keras.utils.set_random_seed(4)
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(8, "tanh", name="features")(inputs)
        network = keras.Model(inputs, {n: keras.layers.Dense(1)(hidden) for n in "ab"})
        model = tiny(network, at)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=precision == "float32")
    x = networks.batch("dense", size=1)[0]
    y = {name: tf.ones((1, 1)) * 2 for name in "ab"}
    model.fit(tf.data.Dataset.from_tensors((x, y)), verbose=0)
    assert model.last_weights.numpy().sum() == pytest.approx(1.0)
    return model.last_gramian.numpy()


def train_with_keras(x, y, optimizer):
    """Trains the same network on one task with Keras."""
    network = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    network.compile(optimizer, "mse", run_eagerly=True)
    network.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    return network


@pytest.mark.parametrize("micro_batches", some([1, 2], [2]))
def test_steps_and_loss_scale_equal_keras(micro_batches):
    """The data overflow at the start and at two later steps; the scale grows in between."""
    x = np.random.default_rng(0).normal(size=(80, 6)).astype("float32")
    x[24:28] *= 1e4
    x[60] = np.inf
    y = np.ones((80, 1), "float32")
    found = []
    for ours in (False, True):
        with policy("mixed_float16"):
            keras.utils.set_random_seed(0)
            optimizer = keras.optimizers.LossScaleOptimizer(
                keras.optimizers.SGD(0.01, momentum=0.9),
                initial_scale=2.0**18,
                dynamic_growth_steps=3,
            )
            if not ours:
                train_with_keras(x, y, optimizer)
            else:
                network = keras.Sequential(
                    [keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(1)]
                )
                task = mtk.Task("y", "mean_squared_error")
                model = mtk.MultiTaskModel(network, [task], combiners.MGDA())
                model.compile(optimizer, micro_batches=micro_batches, on_nonfinite="skip")
                model.fit(tf.data.Dataset.from_tensor_slices((x, {"y": y})).batch(4), verbose=0)
        found.append((int(optimizer.iterations), float(optimizer.dynamic_scale)))
    assert found[0] == found[1]
    assert found[0][0] + int(model.skipped_steps) == 20
    assert int(model.skipped_steps) >= 3


def test_overflow_changes_no_state_and_a_nonfinite_loss_is_recorded():
    with policy("mixed_float16"):
        network = networks.dense()
        model = mtk.MultiTaskModel(network, networks.tasks(), combiners.GradVac())
        inner = keras.optimizers.SGD(0.1)
        model.compile(keras.optimizers.LossScaleOptimizer(inner, initial_scale=2.0**60))
    variables = [*network.variables, *model.combiner.variables, model.last_weights]
    before = [v.numpy() for v in variables]
    batch = networks.batch("dense")
    history = model.fit(tf.data.Dataset.from_tensors(batch).repeat(3), verbose=0).history
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    assert (int(model.skipped_steps), int(model.optimizer.iterations)) == (3, 0)
    assert float(model.optimizer.dynamic_scale) == 2.0**57
    assert history["left_weight"] == [0.0]
    assert model.nonfinite_step.numpy() == -1
    x, y, mask = batch
    model.fit(tf.data.Dataset.from_tensors((x * np.inf, y, mask)), verbose=0)
    assert model.nonfinite_step.numpy() == 4


@pytest.mark.parametrize("fixed", [False, True])
def test_loss_scaling_follows_the_policy_of_the_network(fixed):
    with policy("mixed_float16"):
        network = networks.dense()
    model = mtk.MultiTaskModel(network, networks.tasks())
    model.compile(keras.optimizers.SGD(0.1, loss_scale_factor=64.0 if fixed else None))
    wrapped = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert wrapped != fixed
    assert model.skips_steps == wrapped


@pytest.mark.parametrize("name", ["float16", "mixed_float16"])
def test_optimizer_is_wrapped_as_in_keras(name, tmp_path):
    wrapped = []
    for scales in (True, False):
        with policy(name):
            plain, network = networks.dense(), networks.dense()
            plain.compile("sgd", auto_scale_loss=scales)
        model = mtk.MultiTaskModel(network, networks.tasks())
        model.compile("sgd", auto_scale_loss=scales)
        assert type(model.optimizer) is type(plain.optimizer)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert type(loaded.optimizer) is type(plain.optimizer)
        wrapped.append(isinstance(plain.optimizer, keras.optimizers.LossScaleOptimizer))
    assert wrapped == [name == "mixed_float16", False]
