"""Exports without auxiliary tasks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mtk.export import export, save_keras, with_outputs

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def functional():
    x = keras.Input((4,), name="x")
    h = layers.Dense(5, name="trunk")(x)
    outputs = {name: layers.Dense(1, name=name)(h) for name in ("main", "other", "auxiliary")}
    return keras.Model({"x": x}, outputs)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.outs = {name: layers.Dense(1) for name in ("main", "other", "auxiliary")}

    def call(self, inputs):
        return {name: out(inputs["x"]) for name, out in self.outs.items()}


@pytest.mark.parametrize("make", [functional, Subclassed])
def test_kept_outputs_are_unchanged(make):
    network = make()
    expected = network({"x": X})
    kept = with_outputs(network, ["other", "main"])({"x": X})
    assert list(kept) == ["other", "main"]
    for name, output in kept.items():
        np.testing.assert_array_equal(output, expected[name])


def test_layers_of_auxiliary_tasks_are_removed():
    names = {layer.name for layer in with_outputs(functional(), ["main"]).layers}
    assert {"trunk", "main"} <= names
    assert not names & {"other", "auxiliary"}


def test_exports_exclude_auxiliary_tasks(tmp_path):
    network = functional()
    export(network, tmp_path / "saved", tasks=["main"])
    served = tf.saved_model.load(str(tmp_path / "saved"))
    assert set(served.signatures["serving_default"](x=X)) == {"main"}
    assert len(served.variables) == 4
    assert save_keras(network, tmp_path / "model.keras", tasks=["main", "other"])
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert set(loaded({"x": X})) == {"main", "other"}


@pytest.mark.parametrize(("tasks", "words"), [(["mian"], "Did you mean 'main'"), ([], "subset of")])
def test_unknown_tasks_are_named(tasks, words):
    with pytest.raises(ValueError, match=words):
        with_outputs(functional(), tasks)


def test_single_output_tensor_is_refused():
    network = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="not a dict"):
        with_outputs(network, ["main"])


class Listed(keras.Model):
    def __init__(self):
        super().__init__()
        self.outs = [layers.Dense(1), layers.Dense(2)]

    def call(self, inputs):
        return [out(inputs) for out in self.outs]


def in_a_list():
    x = keras.Input((4,), name="x")
    return keras.Model(x, [layers.Dense(1, name="price")(x), layers.Dense(2, name="sold")(x)])


@pytest.mark.parametrize(
    ("make", "names", "expected"),
    [
        (in_a_list, None, ["price", "sold"]),
        (Listed, None, ["output_1", "output_2"]),
        (Listed, ["first", "second"], ["first", "second"]),
    ],
)
def test_outputs_in_a_list_are_exported_by_name(make, names, expected, tmp_path):
    network = make()
    outputs = network(X)
    export(network, tmp_path / "e", tf.TensorSpec((None, 4), name="x"), names=names)
    served = tf.saved_model.load(tmp_path / "e").signatures["serving_default"](x=X)
    for name, output in zip(expected, outputs, strict=True):
        np.testing.assert_allclose(served[name], output, atol=1e-6)
    if names is None:
        assert list(with_outputs(network, expected[1:])(X)) == expected[1:]
