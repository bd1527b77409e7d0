import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.export import export

A, B = (np.random.default_rng(seed).normal(size=(5, 3)).astype("float32") for seed in (0, 1))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return {"y": self.dense(x)}


def functional(structure):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    inputs = {"one": a, "dict": {"b": b, "a": a}, "list": [b, a]}[structure]
    mixed = a if structure == "one" else a - 2.0 * b
    return keras.Model(inputs, {"y": keras.layers.Dense(2)(keras.layers.Dropout(0.5)(mixed))})


@pytest.mark.parametrize(
    ("make", "x", "named"),
    [
        (lambda: functional("one"), A, {"a": A}),
        (lambda: functional("dict"), {"a": A, "b": B}, {"a": A, "b": B}),
        (lambda: functional("list"), [B, A], {"a": A, "b": B}),
    ],
    ids=["one", "dict", "list"],
)
@pytest.mark.parametrize("size", [1, 5])
def test_signature_has_names_and_any_batch_size(tmp_path, make, x, named, size):
    network = make()
    export(network, tmp_path)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    assert set(serve.structured_input_signature[1]) == set(named)
    found = serve(**{name: tf.constant(array[:size]) for name, array in named.items()})
    assert set(found) == {"y"}
    expected = network(x, training=False)["y"][:size]
    np.testing.assert_allclose(found["y"], expected, rtol=1e-5, atol=1e-6)


def test_network_of_one_tensor_calls_it_output(tmp_path):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    export(network, tmp_path)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    ((name, _),) = serve.structured_input_signature[1].items()
    np.testing.assert_allclose(serve(**{name: A})["output"], network(A), rtol=1e-5)


def test_subclassed_network_is_told_its_inputs(tmp_path):
    network = Subclassed()
    network(A)
    with pytest.raises(ValueError, match="element_spec"):
        export(network, tmp_path)
    data = tf.data.Dataset.from_tensor_slices((A, B)).batch(2)
    export(network, tmp_path, data.element_spec[0])
    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    ((name, _),) = serve.structured_input_signature[1].items()
    np.testing.assert_allclose(serve(**{name: A})["y"], network(A)["y"], rtol=1e-5)
