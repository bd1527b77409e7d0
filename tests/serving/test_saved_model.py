import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.export import export, load
from mtk.models import Transformer, resnet18
from tests.quick import some

A, B = (np.random.default_rng(seed).normal(size=(5, 3)).astype("float32") for seed in (0, 1))
IDS = np.array([[1, 2, 0, 0], [3, 1, 4, 0]], "int32")


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


def serving(path):
    return tf.saved_model.load(str(path)).signatures["serving_default"]


@pytest.mark.parametrize(
    ("structure", "x", "named"),
    [
        ("one", A, {"a": A}),
        ("dict", {"a": A, "b": B}, {"a": A, "b": B}),
        ("list", [B, A], {"a": A, "b": B}),
    ],
)
@pytest.mark.parametrize("size", [1, 5])
def test_signature_has_names_and_any_batch_size(tmp_path, structure, x, named, size):
    network = functional(structure)
    export(network, tmp_path / "made")
    serve = serving(tmp_path / "made")
    assert set(serve.structured_input_signature[1]) == set(named)
    found = serve(**{name: tf.constant(array[:size]) for name, array in named.items()})
    assert set(found) == {"y"}
    expected = network(x, training=False)["y"]
    np.testing.assert_allclose(found["y"], expected[:size], rtol=1e-5, atol=1e-6)
    # The loaded model takes the inputs of the network; the order of a list is kept.
    np.testing.assert_allclose(load(tmp_path / "made")(x)["y"], expected, rtol=1e-5, atol=1e-6)


def test_single_output_is_named_output(tmp_path, caplog):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with caplog.at_level("INFO", logger="tensorflow"):
        export(network, tmp_path)
        tf.get_logger().info("other")
    # TensorFlow's message is not logged: it names a temporary folder.
    assert [record.getMessage() for record in caplog.records] == ["other"]
    serve = serving(tmp_path)
    ((name, _),) = serve.structured_input_signature[1].items()
    np.testing.assert_allclose(serve(**{name: A})["output"], network(A), rtol=1e-5)
    np.testing.assert_allclose(load(tmp_path)(A), network(A), rtol=1e-5)


def test_subclassed_network_needs_inputs(tmp_path):
    network = Subclassed()
    network(A)
    with pytest.raises(ValueError, match="element_spec"):
        export(network, tmp_path)
    data = tf.data.Dataset.from_tensor_slices((A, B)).batch(2)
    export(network, tmp_path, data.element_spec[0])
    serve = serving(tmp_path)
    ((name, _),) = serve.structured_input_signature[1].items()
    np.testing.assert_allclose(serve(**{name: A})["y"], network(A)["y"], rtol=1e-5)


def test_inputs_with_the_same_name_are_refused(tmp_path):
    specs = [tf.TensorSpec((None, 3), name="a"), tf.TensorSpec((None, 3), name="a")]
    network = Subclassed()
    network(A)
    with pytest.raises(ValueError, match="unique names"):
        export(network, tmp_path / "made", specs)
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", some(["resnet", "transformer"], ["transformer"]))
def test_another_program_gets_the_same_outputs_from_a_moved_folder(
    tmp_path, in_another_program, kind
):
    if kind == "transformer":
        network = Transformer(9, 1, width=8, feed_forward_width=8, num_heads=2)
        x = {"source": IDS, "target_in": IDS[:, :3]}
        specs = {name: tf.TensorSpec((None, None), tf.int32) for name in x}
        expected = {"output": network(x)}
    else:
        x = {"image": np.random.default_rng(2).normal(size=(3, 32, 32, 3)).astype("float32")}
        network = resnet18((32, 32, 3), ["left", "right"], seed=0, widths=(4, 4, 4, 4))
        specs = None
        name = network.input.name
        expected = network(x["image"], training=False)
        x = {name: x["image"]}
    export(network, tmp_path / "made" / "saved_model", specs)
    moved = tmp_path / "else where"
    (tmp_path / "made").rename(moved)
    found = in_another_program(moved / "saved_model", x)
    assert set(found) == set(expected)
    for task, value in expected.items():
        np.testing.assert_allclose(found[task], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_half_precision_outputs_are_cast_to_float32(tmp_path, policy):
    inputs = keras.Input((3,), name="x")
    hidden = keras.layers.Dense(4, dtype=policy)(inputs)
    network = keras.Model(inputs, {"y": keras.layers.Dense(2, dtype=policy)(hidden)})
    assert network(A)["y"].dtype != tf.float32
    export(network, tmp_path)
    found = serving(tmp_path)(x=tf.constant(A))["y"]
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, tf.cast(network(A)["y"], tf.float32))


def test_padding_masks_are_kept(tmp_path):
    ids = keras.Input((None,), dtype="int32", name="ids")
    words = keras.layers.Embedding(5, 4, mask_zero=True)(ids)
    outputs = {
        "tag": keras.layers.Dense(3)(words),
        "mood": keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(words)),
    }
    network = keras.Model(ids, outputs)
    export(network, tmp_path)
    found = load(tmp_path)(IDS)
    np.testing.assert_array_equal(found["tag"]._keras_mask, IDS > 0)
    assert getattr(found["mood"], "_keras_mask", None) is None
    np.testing.assert_allclose(found["mood"], network(IDS)["mood"], rtol=1e-5, atol=1e-7)


def test_export_replaces_and_a_failure_keeps_the_old_export(tmp_path, monkeypatch):
    path = tmp_path / "made"
    first, second = functional("one"), functional("one")
    export(first, path)
    export(second, path)
    np.testing.assert_allclose(serving(path)(a=A)["y"], second(A)["y"], rtol=1e-5)

    def fail(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space"):
        export(first, path)
    assert [x.name for x in tmp_path.iterdir()] == ["made"]
    np.testing.assert_allclose(serving(path)(a=A)["y"], second(A)["y"], rtol=1e-5)


def test_no_pickle_is_written(tmp_path):
    export(functional("dict"), tmp_path / "made")
    names = {path.name.partition(".")[2] for path in (tmp_path / "made").rglob("*.*")}
    assert names == {"pb", "json", "index", "data-00000-of-00001", "extra"}


class Towers(keras.Model):
    """Subclassed, with two inputs by name."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1)

    def call(self, inputs):
        return {"out": self.dense(inputs["b"] - inputs["a"])}


@pytest.mark.parametrize("called", ["symbolically", "with arrays"])
def test_subclassed_network_with_named_inputs(called, tmp_path):
    """After a symbolic call Keras knows its inputs as a list, without their names."""
    network = Towers()
    rows = {name: np.full((2, 3), value, "float32") for name, value in (("a", 1.0), ("b", 3.0))}
    given = {name: keras.Input((3,)) for name in rows} if called == "symbolically" else rows
    network(given)
    inputs = None
    if called == "with arrays":
        with pytest.raises(ValueError, match="Give `inputs`"):
            export(network, tmp_path / "exported")
        inputs = {name: tf.TensorSpec([None, 3]) for name in rows}
    export(network, tmp_path / "exported", inputs=inputs)
    found = load(tmp_path / "exported").predict(rows, verbose=0)
    np.testing.assert_allclose(found["out"], network(rows)["out"], rtol=1e-6)
