"""Static weights equal Keras with the same loss weights, for every kind of layer.

All optimizers with and without clipping, for each kind of network:

    python -m pytest -m slow -n 2 tests/trainer/test_against_keras.py
"""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from tests.quick import some
from tests.trainer import zoo

pytestmark = pytest.mark.usefixtures("rewritten_graphs")

OPTIMIZERS = {
    "sgd": functools.partial(keras.optimizers.SGD, 0.1),
    "momentum": functools.partial(keras.optimizers.SGD, 0.03, momentum=0.9),
    "adam": functools.partial(keras.optimizers.Adam, 0.01),
    "adamw": functools.partial(keras.optimizers.AdamW, 0.01, weight_decay=0.05),
    "adagrad": functools.partial(keras.optimizers.Adagrad, 0.05),
}
WEIGHTS = {"a": 1.0, "b": 3.0, "c": 2.0, "class": 1.0, "flag": 3.0, "size": 2.0}
EPOCHS = 10  # Of five batches each.
CLIP = 0.3
WAYS = list(itertools.product(OPTIMIZERS, (None, CLIP)))
# The others run with the slow tests; by default `test_compiled_tasks.py` covers Adam.
QUICK = [("adamw", CLIP)]


def on_dense_gradients(optimizer):
    """Makes an optimizer sum the gradients of embedding rows that occur more than once.

    Keras squares the gradients of repeated tokens, and takes their norm, one by one.
    """

    class Dense(type(optimizer)):
        def apply(self, grads, trainable_variables=None):
            super().apply([tf.convert_to_tensor(g) for g in grads], trainable_variables)

    optimizer.__class__ = Dense
    return optimizer


def train_with_keras(problem, optimizer, clip):
    network = problem.network
    raw = [WEIGHTS[name] for name in problem.losses]
    weights = {name: WEIGHTS[name] / sum(raw) for name in problem.losses}
    watched = zoo.variables(network)
    network.compile(
        on_dense_gradients(OPTIMIZERS[optimizer](global_clipnorm=clip)),
        loss=problem.losses,
        loss_weights=weights,
        jit_compile=False,
    )
    history = network.fit(
        problem.x, problem.y, batch_size=zoo.BATCH, epochs=EPOCHS, shuffle=False, verbose=0
    ).history
    return [v.numpy() for v in watched], history


def train_with_mtk(problem, optimizer, clip, combiner=None):
    weights = [WEIGHTS[name] for name in problem.losses]
    watched = zoo.variables(problem.network)
    model = mtk.MultiTaskModel(
        problem.network, problem.tasks, combiner or mtk.combiners.StaticWeights(weights)
    )
    model.compile(OPTIMIZERS[optimizer](), clip_norm=clip)
    history = model.fit(
        problem.x, problem.y, batch_size=zoo.BATCH, epochs=EPOCHS, shuffle=False, verbose=0
    ).history
    return [v.numpy() for v in watched], history


def check(kind, optimizer, clip):
    expected, logged = train_with_keras(zoo.build(kind), optimizer, clip)
    problem = zoo.build(kind)
    before = zoo.values(problem.network)
    found, logs = train_with_mtk(problem, optimizer, clip)
    assert max(np.abs(one - two).max() for one, two in zip(found, before, strict=True)) > 1e-2
    zoo.assert_close(found, expected, 1e-6, zoo.names_of(problem.network))
    # The mean over an epoch is taken over tokens here, and over batches in Keras.
    for name in problem.losses if kind != "masked_sequence" else ():
        assert logs[f"{name}_loss"] == pytest.approx(logged[f"{name}_loss"], rel=1e-4, abs=1e-6)
    return logs, logged


@pytest.mark.parametrize(("kind", "way"), zoo.each_way_once(WAYS, first=1, quick=QUICK))
def test_fifty_steps_with_static_weights_equal_keras(kind, way):
    check(kind, *way)


@pytest.mark.slow
def test_metric_of_a_layer_is_logged():
    logs, logged = check("metric_in_a_layer", "sgd", None)
    assert logs["size"] == pytest.approx(logged["size"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", some(["momentum", "adam"], ["adam"]))
def test_keras_reference_equals_a_custom_loop_with_dense_gradients(optimizer):
    """Compares the reference of the tests above with a custom training loop."""
    expected, _ = train_with_keras(zoo.build("repeated_tokens"), optimizer, CLIP)
    problem = zoo.build("repeated_tokens")
    variables, plain = problem.network.trainable_variables, OPTIMIZERS[optimizer]()

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            outputs = problem.network(x, training=True)
            losses = {t: tf.reduce_mean((outputs[t] - y[t]) ** 2) for t in "ab"}
            total = 0.25 * losses["a"] + 0.75 * losses["b"]
        found = tape.gradient(total, [v.value for v in variables])
        found, _ = tf.clip_by_global_norm([tf.convert_to_tensor(g) for g in found], CLIP)
        plain.apply(found, variables)

    plain.build(variables)
    for number in [*range(5)] * EPOCHS:
        step(*tf.nest.map_structure(tf.constant, problem.batch(number)))
    zoo.assert_close(zoo.values(problem.network), expected, 1e-6)
