import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.export import check_inputs, export, load


@pytest.fixture
def made(tmp_path):
    a, b = keras.Input((3,), name="a"), keras.Input((2,), dtype="int32", name="b")
    b_too = keras.layers.Embedding(5, 3)(b)[:, 0]
    export(keras.Model({"a": a, "b": b}, {"y": keras.layers.Dense(2)(a + b_too)}), tmp_path / "sm")
    return tmp_path / "sm"


def specs(shape=(None, 3), dtype=tf.float32, name="a"):
    return {name: tf.TensorSpec(shape, dtype), "b": tf.TensorSpec((None, 2), tf.int32)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (specs(shape=(None, 4)), r"expects \{a: float32 \(None, 3\)\}.*a: float32 \(None, 4\)"),
        (specs(shape=(None, 3, 1)), r"float32 \(None, 3, 1\)"),
        (specs(dtype=tf.string), "a: string"),
        ({**specs(), "b": tf.TensorSpec((None, 2), tf.float32)}, "b: float32"),
        (specs(name="c"), r"expects the inputs \['a', 'b'\].*Received: \['b', 'c'\]"),
        (tf.TensorSpec((None, 3)), "Received: 1 input"),
    ],
)
def test_data_that_do_not_match_are_refused(made, given, message):
    with pytest.raises(ValueError, match=message):
        check_inputs(load(made), given)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.uint8, tf.int64])
def test_numbers_are_cast_as_in_keras(made, dtype):
    network = load(made)
    check_inputs(network, specs(dtype=dtype))
    a = np.arange(6).reshape(2, 3)
    b = tf.ones((2, 2), tf.int32)
    found = network({"a": tf.constant(a, dtype), "b": b})["y"]
    expected = network({"a": tf.constant(a, tf.float32), "b": b})["y"]
    np.testing.assert_array_equal(found, expected)


def test_functional_network_is_checked_too():
    inputs = keras.Input((3,), name="a")
    network = keras.Model(inputs, {"y": keras.layers.Dense(2)(inputs)})
    check_inputs(network, tf.TensorSpec((None, 3)))
    with pytest.raises(ValueError, match=r"float32 \(None, 4\)"):
        check_inputs(network, tf.TensorSpec((None, 4)))


def test_folder_without_a_saved_model(tmp_path):
    with pytest.raises(ValueError, match=r"no SavedModel.*saved_model\.pb"):
        load(tmp_path)


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index"])
def test_damaged_saved_model(made, part):
    (made / part).write_bytes(b"no proto at all")
    with pytest.raises(ValueError, match="damaged"):
        load(made)


PARTS = (
    *("saved_model.pb", "variables/variables.index", "assets.extra/mtk.json", "fingerprint.pb"),
    "variables/variables.data-00000-of-00001",
)


def damaged(content):
    """Yields truncated contents, and contents with a changed byte."""
    for kept in (0, 1, len(content) // 2, len(content) - 1):
        yield content[:kept]
    for place in (0, len(content) // 3, len(content) // 2, len(content) - 1):
        yield content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("part", PARTS)
def test_damaged_saved_model_is_refused_or_unaffected(made, part):
    x = {
        "a": np.arange(6.0, dtype="float32").reshape(2, 3),
        "b": np.array([[1, 2], [3, 4]], "int32"),
    }
    expected = load(made)(x)["y"]
    whole = (made / part).read_bytes()
    for content in damaged(whole):
        (made / part).write_bytes(content)
        try:
            network = load(made)
        except ValueError as error:
            assert str(made) in str(error)  # noqa: PT017
            assert "damaged" in str(error) or "serving_default" in str(error)  # noqa: PT017
        else:  # The fingerprint is not read; the JSON file ends with a newline.
            assert len(content) == len(whole) or part in ("fingerprint.pb", "assets.extra/mtk.json")
            np.testing.assert_array_equal(network(x)["y"], expected)


@pytest.mark.parametrize("content", ["{}", "[]", '{"inputs": 3}', '{"inputs": ["z"]}', "[" * 10**5])
def test_damaged_order_of_the_inputs(made, content):
    (made / "assets.extra" / "mtk.json").write_text(content)
    with pytest.raises(ValueError, match=r"mtk\.json' is damaged"):
        load(made)


def test_saved_model_without_the_signature(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec((None, 3), name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"double": module.double})
    with pytest.raises(ValueError, match=r"serving_default.*Received: \['double'\]"):
        load(tmp_path)


def test_saved_model_of_another_program(tmp_path):
    module = tf.Module()
    module.double = tf.function(lambda x: {"y": 2 * x}, [tf.TensorSpec((None, 3), name="x")])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.double})
    network = load(tmp_path)
    np.testing.assert_array_equal(network(np.ones((2, 3), "float32"))["y"], np.full((2, 3), 2.0))


def test_too_large_graph_is_refused(tmp_path):
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match=r"saved_model\.pb has more than"):
        load(tmp_path)
