"""Training raises no error under `tf.debugging.enable_check_numerics`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.finite import nan_unless
from tests.combiners.cases import BY_NAME
from tests.quick import some

QUICK = ("static",)


@pytest.fixture
def check_numerics():
    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


def fitted(name, number, eagerly):
    x = keras.Input((3,))
    h = keras.layers.Dense(4, "tanh")(x)
    outputs = {f"t{k}": keras.layers.Dense(1, name=f"t{k}")(h) for k in range(number)}
    model = mtk.MultiTaskModel(keras.Model(x, outputs), combiner=BY_NAME[name].make())
    model.compile("sgd", "mse", run_eagerly=eagerly, clip_norm=1.0)
    rng = np.random.default_rng(0)
    labels = {name: rng.normal(size=(12, 1)) for name in outputs}
    model.fit(rng.normal(size=(12, 3)), labels, batch_size=6, verbose=0)


@pytest.mark.parametrize("number", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", some(BY_NAME, QUICK))
def test_training_in_a_graph(check_numerics, name, number):
    fitted(name, number, eagerly=False)


@pytest.mark.parametrize("name", some(("static", "mgda", "cagrad", "pcgrad", "nash"), ("cagrad",)))
def test_eager_training(check_numerics, name):
    fitted(name, 2, eagerly=True)


def test_nan_unless():
    found = nan_unless(tf.constant([True, False]), tf.constant([2.0, 3.0], tf.float64))
    np.testing.assert_array_equal(found, [2.0, np.nan])
