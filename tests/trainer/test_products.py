"""Gramians from factors equal those from task gradients, and are used where they may be."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk.combiners import CAGrad, GradDrop, GradVac, PCGrad, StaticWeights
from mtk.trainer import products

TASKS = ("a", "b", "c")
BATCH = 4


def network(tail=None, **options):
    """A network whose kernels are large against its rows."""
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, strides=2, activation="relu", name="activated")(inputs)
    x = layers.Conv2D(48, 3, padding="same", name="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.Conv2D(56, 2, strides=2, padding="same", name="strided", **options)(layers.ReLU()(x))
    x = layers.Flatten()(layers.ReLU()(x))
    x = layers.Dense(64, name="dense")(x)
    x = tail(x) if tail else x
    x = layers.Dense(32, activation="tanh", name="tanh")(x)
    return keras.Model(inputs, {task: layers.Dense(2, name=task)(x) for task in TASKS})


def batch():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(BATCH, 6, 6, 3)).astype("float32")
    labels = {task: rng.normal(size=(BATCH, 2)).astype("float32") for task in TASKS}
    masks = {task: np.ones(BATCH, "float32") for task in TASKS}
    masks["b"][1:] = 0
    return x, labels, masks


def model_of(net, combiner, **options):
    tasks = [mtk.Task(task, "mean_squared_error") for task in TASKS]
    model = mtk.MultiTaskModel(net, tasks, combiner, **options)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), weight_decay=1e-3, clip_norm=1.0)
    return model


def found_in(net):
    return [each.layer.name for each in model_of(net, PCGrad()).inspect(batch()).linear]


def trained(monkeypatch, factor, net, combiner, **options):
    """Trains three steps, with factors always or never, and says how often they were used."""
    used = []
    monkeypatch.setattr(products, "_WORTHWHILE", factor)
    plain = products.Product.gramian
    monkeypatch.setattr(
        products.Product, "gramian", lambda self, g: used.append(self) or plain(self, g)
    )
    keras.utils.set_random_seed(5)
    model = model_of(net(), combiner(), **options)
    for _ in range(3):
        model.fit(tf.data.Dataset.from_tensors(batch()), verbose=0, shuffle=False)
    return model, {p.linear.layer.name for p in used}


@pytest.mark.parametrize(
    ("way", "combiner"),
    [("unrolled", PCGrad), ("unrolled", StaticWeights), ("loop", CAGrad), ("vectorized", PCGrad)],
)
def test_trains_as_with_task_gradients(monkeypatch, way, combiner):
    def measured(factor):
        model, used = trained(monkeypatch, factor, network, combiner, gradients=way)
        return model, used

    monkeypatch.setattr(mtk.MultiTaskModel, "_is_measured", lambda self, step: True)
    with_factors, used = measured(float("inf"))
    without, unused = measured(0.0)
    assert used == {"same", "strided", "dense"}
    assert not unused
    gramian = without.last_gramian.numpy()
    np.testing.assert_allclose(with_factors.last_gramian.numpy(), gramian, rtol=1e-4, atol=1e-6)
    for one, two in zip(with_factors.network.weights, without.network.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), atol=1e-5, err_msg=one.path)


@pytest.mark.parametrize("combiner", [GradDrop, lambda: GradVac(groups="layer")])
def test_left_alone_where_gradients_themselves_are_read(monkeypatch, combiner):
    _, used = trained(monkeypatch, float("inf"), network, combiner)
    assert not used


def twice(x):
    again = layers.Dense(64, name="again")
    return again(again(x))


class Tied(layers.Layer):
    """Multiplies by its kernel, and by its transpose."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 16), name="kernel")

    def call(self, x):
        return tf.matmul(tf.matmul(x, self.kernel), self.kernel, transpose_b=True)


class Scaled(layers.Dense):
    """Puts out more than the product with its kernel."""

    def call(self, x):
        return 2.0 * super().call(x)


@pytest.mark.parametrize(
    "tail",
    [
        twice,
        Tied(),
        Scaled(64, name="scaled"),
        layers.Dense(64, name="regularized", kernel_regularizer="l2"),
        layers.Dense(64, name="activated_too", activation="relu"),
    ],
)
def test_finds_no_other_layer(tail):
    assert found_in(network(tail)) == ["same", "strided", "dense"]


def test_needs_plain_convolutions():
    assert "strided" not in found_in(network(groups=2))


def test_frozen_and_mixed_layers_are_left_alone():
    net = network()
    net.get_layer("same").trainable = False
    assert found_in(net) == ["strided", "dense"]


# Two task gradients take 2 * rows * size * channels multiplications; the factors rows^2 * size +
# 2 * rows^2 * channels, and rows * size * channels for the combined gradient.
@pytest.mark.parametrize(
    ("rows", "size", "channels", "saves"),
    [(4, 256, 256, True), (64, 512, 128, False), (4096, 64, 16, False)],
)
def test_used_where_it_multiplies_less(rows, size, channels, saves):
    layer = layers.Dense(channels)
    layer.build((None, size))
    inputs = tf.zeros((rows, size))
    linear = products.Linear(layer, layer.kernel)
    product = products.Product(linear, inputs, layer(inputs), tf.GradientTape())
    assert product.saves(2) == saves


def test_gramian_and_sum_are_those_of_the_task_gradients():
    layer = layers.Conv2D(5, 3, strides=2, padding="same")
    x = tf.random.stateless_normal((2, 7, 9, 4), (1, 2))
    with tf.GradientTape(persistent=True) as tape:
        outputs = layer(x)
    rows = tf.random.stateless_normal((3, *outputs.shape), (3, 4))
    kernel = layer.kernel.value
    by_task = [tape.gradient(outputs, kernel, output_gradients=row) for row in rows]
    flat = np.stack([g.numpy().ravel() for g in by_task])
    linear = products.Linear(layer, layer.kernel, (3, 3), (2, 2), "SAME")
    product = products.Product(linear, x, outputs, tape)
    np.testing.assert_allclose(product.gramian(rows), flat @ flat.T, rtol=1e-5, atol=1e-4)
    weights = np.array([0.2, -0.3, 0.5], "float32")
    combined = product.combined(rows, tf.constant(weights))
    np.testing.assert_allclose(np.ravel(combined), weights @ flat, atol=1e-5)


def test_a_network_of_nothing_else():
    inputs = keras.Input((6, 6, 3))
    x = layers.Dense(64, use_bias=False)(layers.Flatten()(inputs))
    net = keras.Model(inputs, {task: layers.Dense(2, name=task)(x) for task in TASKS})
    model = model_of(net, PCGrad())
    model.fit(tf.data.Dataset.from_tensors(batch()), verbose=0, shuffle=False)
    assert np.isfinite(model.last_gramian.numpy()).all()
    assert (np.diag(model.last_gramian.numpy()) > 0).all()


@pytest.mark.parametrize("at_once", [1, 4, 8, 11, 40])
def test_gramian_is_that_of_the_kernels_gradients_in_blocks_of_any_size(monkeypatch, at_once):
    monkeypatch.setattr(products, "_AT_ONCE", at_once)
    rng = np.random.default_rng(1)
    inputs, rows = rng.normal(size=(5, 7)), rng.normal(size=(11, 5, 6))
    linear = products.Linear(None, None)
    product = products.Product(linear, tf.constant(inputs), tf.zeros((5, 6)), None)
    kernels = np.einsum("rs,krc->ksc", inputs, rows).reshape(11, -1)
    np.testing.assert_allclose(product.gramian(tf.constant(rows)), kernels @ kernels.T, rtol=1e-9)
