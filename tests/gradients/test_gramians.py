"""`mtk.gramian` and `mtk.per_example_gramian` equal the Gramians of full Jacobians."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk import gramians
from tests.quick import some


def jacobian_gramian(losses, variables, tape):
    rows = 0.0
    for variable in variables:
        found = tape.jacobian(losses, variable.value, experimental_use_pfor=False)
        if found is not None:
            found = tf.reshape(tf.convert_to_tensor(found), [losses.shape[0], -1]).numpy()
            rows = rows + found.astype("float64") @ found.astype("float64").T
    return rows


def dense():
    inputs = layers.Input((6,))
    x = layers.Dense(5, activation=lambda z: z + tf.sin(z), use_bias=False)(inputs)
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(1)(layers.Dense(4, "tanh")(x)))


def convolution():
    inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2D(5, 3, dilation_rate=2, padding="same", activation="gelu")(x)
    x = layers.Conv2D(4, 3, groups=1, padding="valid")(layers.UpSampling2D()(x))
    x = layers.DepthwiseConv2D(2)(x)
    return keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))


def embedding():
    inputs = layers.Input((7,), dtype="int32")
    x = layers.Embedding(9, 4)(inputs)
    x = layers.Dense(3, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(1)(layers.LSTM(4)(x)))


def tied():
    inputs = layers.Input((6,))
    shared = layers.Dense(6, activation="tanh", kernel_regularizer="l2")
    x = shared(shared(inputs))
    gate = layers.Dense(6, use_bias=False)(x)
    x = layers.Lambda(lambda z: z + tf.stop_gradient(z) * z)(gate)
    return keras.Model(inputs, layers.Dense(1)(layers.Concatenate()([x, inputs])))


def attention():
    inputs = layers.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.Dense(6, activation="relu")(layers.Add()([x, inputs]))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


def broadcast_product():
    inputs = layers.Input((5, 4))
    x = layers.EinsumDense("abc,cd->abd", output_shape=(5, 3), activation="tanh")(inputs)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


MODELS = {
    f.__name__: f for f in (dense, convolution, embedding, tied, attention, broadcast_product)
}


@pytest.fixture(params=some(MODELS, ["tied"]))
def model(request):
    keras.utils.set_random_seed(3)
    model = MODELS[request.param]()
    model.compile("sgd", loss="mse")
    return model


def examples(model, number=6):
    rng = np.random.default_rng(1)
    shape = (number, *model.input_shape[1:])
    if model.inputs[0].dtype == "int32":
        x = rng.integers(0, 9, shape).astype("int32")
    else:
        x = rng.normal(size=shape).astype("float32")
    return tf.constant(x), tf.constant(rng.normal(size=(number, 1)).astype("float32"))


def reference_gramian(model, x, y):
    with tf.GradientTape(persistent=True) as tape:
        pairs = [(x[i : i + 1], y[i : i + 1]) for i in range(len(x))]
        losses = tf.stack([model.compute_loss(a, b, model(a)) for a, b in pairs])
    return jacobian_gramian(losses, model.trainable_variables, tape), losses, tape


def test_per_example_gramian_of_a_model(model):
    x, y = examples(model, 4)
    expected, losses, tape = reference_gramian(model, x, y)
    found = tf.function(mtk.gramian)(model, (x, y))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * expected.max())
    variables = model.trainable_variables
    found = mtk.gramian(losses, variables, tape)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * expected.max())


@pytest.mark.slow
@pytest.mark.parametrize("held", some([1, 300, 900], [300]))
def test_gramian_computed_in_blocks(monkeypatch, held):
    model = dense()
    model.compile("sgd", loss="mse")
    x, y = examples(model, 7)
    expected, losses, tape = reference_gramian(model, x, y)
    monkeypatch.setattr(gramians, "_HELD_AT_MOST", held)
    found = mtk.gramian(losses, model.trainable_variables, tape)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * expected.max())


def test_eager_equals_graph():
    model = dense()
    model.compile("sgd", loss="mse")
    batch = examples(model)
    np.testing.assert_allclose(
        mtk.gramian(model, batch), tf.function(mtk.gramian)(model, batch), rtol=1e-5
    )


def two_tasks():
    inputs = layers.Input((6,))
    trunk = layers.Dense(5, activation="tanh")(inputs)
    outputs = {name: layers.Dense(1, name=name)(trunk) for name in "ab"}
    model = mtk.MultiTaskModel(keras.Model(inputs, outputs), combiner=mtk.combiners.RLW())
    model.compile("sgd", loss={"a": "mse", "b": "mae"})
    return model


def test_per_task_gramian_of_a_model_leaves_variables_unchanged():
    keras.utils.set_random_seed(3)
    model, rng = two_tasks(), np.random.default_rng(1)
    x = tf.constant(rng.normal(size=(8, 6)).astype("float32"))
    y = {name: tf.constant(rng.normal(size=(8, 1)).astype("float32")) for name in "ab"}
    found = mtk.gramian(model, (x, y))
    before = [v.numpy() for v in model.variables]
    with tf.GradientTape(persistent=True) as tape:
        outputs = model.network(x)
        a = tf.reduce_mean((outputs["a"] - y["a"]) ** 2)
        losses = tf.stack([a, tf.reduce_mean(tf.abs(outputs["b"] - y["b"]))])
    expected = jacobian_gramian(losses, model.structure.shared, tape)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.shape == (2, 2)
    mtk.gramian(model, (x, y))
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, other.numpy())


def test_outputs_without_a_loss_are_ignored():
    inputs = layers.Input((6,))
    trunk = layers.Dense(5, activation="tanh", name="trunk")(inputs)
    heads = [layers.Dense(1, name=name)(trunk) for name in "ab"]
    model = mtk.MultiTaskModel(keras.Model(inputs, [heads[0], trunk, heads[1]]))
    model.compile("sgd", loss=["mse", None, "mae"])
    x, y = tf.random.stateless_normal((8, 6), (1, 2)), tf.ones((8, 1))
    found = mtk.gramian(model, (x, [y, tf.zeros((8, 5)), y]))
    np.testing.assert_array_equal(found, mtk.gramian(model, (x, {"a": y, "b": y})))


def test_single_variable_or_tensor():
    for variable in (tf.Variable([1.0, 2.0]), keras.Variable([1.0, 2.0])):
        with tf.GradientTape(persistent=True) as tape:
            value = tf.convert_to_tensor(variable)
            losses = [tf.reduce_sum(value), tf.reduce_sum(value**2)]
        expected = [[2.0, 6.0], [6.0, 20.0]]
        np.testing.assert_allclose(mtk.gramian(losses, variable, tape), expected)
        np.testing.assert_allclose(mtk.gramian(losses, {"of a": [variable]}, tape), expected)
        np.testing.assert_allclose(mtk.gramian(losses, value, tape), expected)

    def loss(x):
        return tf.reduce_sum(x * variable)

    np.testing.assert_allclose(mtk.per_example_gramian(loss, tf.eye(2), variable), np.eye(2))


def test_invalid_arguments():
    model = dense()
    with pytest.raises(ValueError, match="compile"):
        mtk.gramian(model, (tf.zeros((2, 6)), tf.zeros((2, 1))))
    with pytest.raises(ValueError, match="persistent"):
        mtk.gramian([tf.constant(1.0)], model.trainable_variables)
    with pytest.raises(ValueError, match=r"one tensor `\(K,\)`"):
        mtk.gramian(tf.ones(()), model.trainable_variables, tf.GradientTape(persistent=True))
    for losses in ([tf.ones(3), tf.ones(3)], {"a": tf.ones(()), "b": tf.ones(())}):
        with pytest.raises(ValueError, match="list of scalars"):
            mtk.gramian(losses, model.trainable_variables, tf.GradientTape(persistent=True))
    with pytest.raises(ValueError, match="variable"):
        mtk.per_example_gramian(tf.reduce_sum, tf.zeros((2, 6)), [])
    with pytest.raises(ValueError, match="scalar"):
        mtk.per_example_gramian(lambda x: x, tf.zeros((2, 6)), model.trainable_variables)
