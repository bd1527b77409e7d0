"""Networks that cannot run in a graph, because Python code branches on tensor values."""

import keras
import numpy as np
import pytest
from keras import layers

import mtk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 4)).astype("float32")
Y = {task: RNG.normal(size=(16, 3)).astype("float32") for task in "ab"}


class Branching(keras.Model):
    """Two heads on a trunk whose output is doubled; if `reads`, Python branches on a value."""

    def __init__(self, reads=True):
        super().__init__()
        self.reads = reads
        self.trunk = layers.Dense(4, "tanh")
        self.heads = {task: layers.Dense(3, "softmax") for task in "ab"}

    def call(self, x):
        h = self.trunk(x)
        if not self.reads or float(keras.ops.sum(h * h)) > 0:
            h = 2 * h
        return {task: head(h) for task, head in self.heads.items()}


def trained(model, **compiled):
    """Trains eagerly for four steps; returns predictions, weights and logs."""
    loss = compiled.pop("loss", dict.fromkeys("ab", "categorical_crossentropy"))
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True, **compiled)
    logs = model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    model.evaluate(X, Y, verbose=0)
    return model.predict(X, verbose=0)["a"], model.get_weights(), logs


def network(**options):
    keras.utils.set_random_seed(0)
    return Branching(**options)


@pytest.mark.parametrize("compiled", [{}, {"metrics": {"a": [keras.metrics.F1Score()]}}])
def test_training_equals_keras(compiled):
    expected, weights, logs = trained(network(), **compiled)
    found, own, own_logs = trained(mtk.MultiTaskModel(network()), **compiled)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for one, two in zip(own, weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    for name, values in logs.items():
        np.testing.assert_allclose(own_logs[name], values, rtol=1e-5)


def test_step_calls_the_network_once():
    model = mtk.MultiTaskModel(network())
    losses = dict.fromkeys("ab", "mse")
    model.compile("sgd", losses, metrics={"a": ["mae"]}, run_eagerly=True)
    model.train_on_batch(X, Y)
    calls = []
    call = model.network.call
    model.network.call = lambda x: calls.append(1) or call(x)
    for _ in range(3):
        model.train_on_batch(X, Y)
    assert len(calls) == 3


def test_tasks_are_read_from_the_first_batch():
    model = mtk.MultiTaskModel(network())
    trained(model, loss="categorical_crossentropy", metrics="accuracy")
    assert model.task_names == ["a", "b"]


@pytest.mark.parametrize("at", ["parameters", "representation"])
def test_combiner_uses_given_shared_layers_or_representation(at):
    def model(**options):
        inner = network(**options)
        given = {"shared": [inner.trunk], "representation": inner.trunk}
        return mtk.MultiTaskModel(inner, combiner=mtk.combiners.MGDA(at=at), **given)

    expected, *_ = trained(model(reads=False))
    found, *_ = trained(model())
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_combiner_needs_given_shared_variables():
    with pytest.raises(ValueError, match=r"cannot run in a graph.*shared=\["):
        trained(mtk.MultiTaskModel(network(), combiner=mtk.combiners.PCGrad()))
