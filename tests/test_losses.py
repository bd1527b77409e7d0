import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.losses import SmoothedCrossentropy, WeightedSum
from mtk.tasks import Task

RNG = np.random.default_rng(0)
SHAPES = [(5,), (3, 4), (2, 3, 4)]


def batch(shape, classes=7, scale=3.0):
    labels = RNG.integers(0, classes, shape)
    return labels, (scale * RNG.normal(size=(*shape, classes))).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_equals_the_cross_entropy_against_smoothed_one_hot_labels(shape, smoothing):
    labels, logits = batch(shape)
    found = SmoothedCrossentropy(smoothing).call(labels, tf.constant(logits))
    one_hot = np.eye(7)[labels] * (1 - smoothing) + smoothing / 7
    log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, -(one_hot * log_probs).sum(-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_is_softmax_minus_smoothed_label(smoothing):
    labels, logits = batch((4, 3))
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(SmoothedCrossentropy(smoothing).call(labels, z))
    one_hot = np.eye(7)[labels] * (1 - smoothing) + smoothing / 7
    np.testing.assert_allclose(tape.gradient(loss, z), tf.nn.softmax(logits) - one_hot, atol=1e-6)


def test_known_value():
    # Two classes with equal logits: log 2 for any smoothing.
    assert float(SmoothedCrossentropy(0.3).call([1], tf.zeros((1, 2)))[0]) == pytest.approx(
        np.log(2)
    )
    # Logits (log 3, 0): 0.9 log(4/3) + 0.1 (log(4/3) + log 4) / 2, as Keras' loss.
    found = float(SmoothedCrossentropy(0.1).call([0], tf.constant([[np.log(3.0), 0.0]]))[0])
    assert found == pytest.approx(0.9 * np.log(4 / 3) + 0.05 * (np.log(4 / 3) + np.log(4)))
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert found == pytest.approx(float(keras_loss([[1.0, 0.0]], [[np.log(3.0), 0.0]])))


def test_padding_does_not_count_in_a_task():
    labels, logits = batch((2, 4))
    labels = np.maximum(labels, 1)
    labels[:, 3] = 0
    task = Task("fr", SmoothedCrossentropy(), missing=0)
    elements = task.elements(tf.constant(labels), tf.constant(logits))
    np.testing.assert_array_equal(elements.weights, [[1, 1, 1, 0]] * 2)
    np.testing.assert_allclose(
        elements.values[:, :3], SmoothedCrossentropy().call(labels[:, :3], logits[:, :3])
    )


def test_config_round_trip():
    loss = SmoothedCrossentropy(0.2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert (type(copy), copy.smoothing) == (SmoothedCrossentropy, 0.2)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_raises(smoothing):
    with pytest.raises(ValueError, match="`smoothing` must be a share from 0 to below 1"):
        SmoothedCrossentropy(smoothing)


def test_jacobian_with_and_without_pfor():
    """`SmoothedCrossentropy` has a custom gradient, which works with and without `pfor`."""
    labels, logits = batch((4, 3))
    kernel = tf.Variable(np.float32(RNG.normal(size=(7, 7))))
    found = []
    for pfor in (True, False):

        @tf.function
        def jacobian(pfor=pfor):
            with tf.GradientTape() as tape:
                losses = tf.reduce_mean(SmoothedCrossentropy().call(labels, logits @ kernel), 1)
            return tape.jacobian(losses, kernel, experimental_use_pfor=pfor)

        found.append(jacobian())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)


def test_compiles_with_xla():
    labels, logits = batch((4, 3))
    z = tf.Variable(logits)

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(SmoothedCrossentropy().call(labels, z) * [1.0, 2.0, 3.0])
        return tape.gradient(loss, z)

    compiled = tf.function(gradient, jit_compile=True)
    np.testing.assert_allclose(compiled(), gradient(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e2, 1e4])
def test_extreme_logits(scale):
    labels, logits = batch((5,), scale=scale)
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = SmoothedCrossentropy().call(labels, z)
    one_hot = np.eye(7)[labels] * 0.9 + 0.1 / 7
    exact = logits.astype(np.float64)
    exact -= exact.max(-1, keepdims=True)
    log_probs = exact - np.log(np.exp(exact).sum(-1, keepdims=True))
    np.testing.assert_allclose(loss, -(one_hot * log_probs).sum(-1), rtol=1e-5)
    assert np.isfinite(tape.gradient(loss, z)).all()


def custom_loss(y_true, y_pred):
    return tf.reduce_mean((y_true - y_pred) ** 4, axis=-1)


@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 2.5]])
def test_weighted_sum_equals_the_sum_of_its_losses(weights):
    y, p = RNG.normal(size=(2, 5, 3)).astype("float32")
    parts = ["mse", keras.losses.Huber(), custom_loss]
    each = [keras.losses.mean_squared_error(y, p), keras.losses.huber(y, p), custom_loss(y, p)]
    expected = sum(w * v for w, v in zip(weights or [1.0] * 3, each, strict=True))
    loss = WeightedSum(parts, weights)
    np.testing.assert_allclose(loss.call(y, p), expected, rtol=1e-5)
    np.testing.assert_allclose(loss(y, p), np.mean(expected), rtol=1e-5)
    values = Task("a", loss).elements(tf.constant(y), tf.constant(p)).values
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_weighted_sum_config_round_trip():
    smooth = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.3)
    loss = WeightedSum(["mse", smooth], [1.0, 3.0])
    config = keras.saving.serialize_keras_object(loss)
    copy = keras.saving.deserialize_keras_object(config)
    y, p = RNG.normal(size=(2, 5, 3)).astype("float32")
    np.testing.assert_allclose(copy.call(y, p), loss.call(y, p))


@pytest.mark.parametrize(
    "arguments",
    [
        ([],),
        (["mse", None],),
        (["mse", "no_loss"],),
        (["mse"], [1.0, 2.0]),
        (["mse"], [-1.0]),
        (["mse"], [keras.Variable(1.0)]),
        (["mse", keras.losses.Huber(reduction="sum")],),
    ],
)
def test_invalid_weighted_sums_raise(arguments):
    with pytest.raises(ValueError, match=r"losses|no_loss|variables"):
        WeightedSum(*arguments)
