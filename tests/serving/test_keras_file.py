import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.export import load, save_keras
from mtk.models import Transformer, lenet
from tests.networks import NETWORKS, batch

IDS = np.array([[1, 2, 0, 0], [3, 1, 4, 0]], "int32")


class Applied(keras.layers.Layer):
    """A layer that Keras cannot store: its argument is a function, and it has no `get_config`."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


@pytest.mark.slow
def test_network_of_keras_layers_loads_without_this_package(tmp_path):
    network = lenet((20, 20, 1), ["left", "right"], channels=(2, 2))
    path = tmp_path / "model.keras"
    assert save_keras(network, path)
    x = np.random.default_rng(0).normal(size=(3, 20, 20, 1)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    # `-I` ignores PYTHONPATH; a module that is set to None cannot be imported.
    program = (
        "import sys; sys.modules['mtk'] = None\n"
        "import keras, numpy as np\n"
        "network = keras.saving.load_model('model.keras', safe_mode=True)\n"
        "found = network(np.load('x.npy'), training=False)\n"
        "np.savez('y.npz', **{name: np.asarray(value) for name, value in found.items()})\n"
    )
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "y.npz") as found:
        for task, value in network(x, training=False).items():
            np.testing.assert_array_equal(found[task], value)


@pytest.mark.parametrize("kind", ["dense", "convolutional", "embedding", "attention"])
def test_round_trip(tmp_path, kind):
    network, (x, *_) = NETWORKS[kind](), batch(kind)
    assert save_keras(network, tmp_path / "made" / "model.keras")
    loaded = load(tmp_path / "made" / "model.keras")
    for task, value in network(x, training=False).items():
        np.testing.assert_array_equal(loaded(x, training=False)[task], value)


def test_transformer_round_trip(tmp_path):
    network = Transformer(9, 1, width=8, feed_forward_width=8, num_heads=2)
    x = {"source": IDS, "target_in": IDS}
    expected = network(x)
    assert save_keras(network, tmp_path / "model.keras")
    np.testing.assert_array_equal(load(tmp_path / "model.keras")(x), expected)


def test_network_of_a_saved_multi_task_model(tmp_path):
    network, (x, *_) = NETWORKS["dense"](), batch("dense")
    loss = "sparse_categorical_crossentropy"
    model = mtk.MultiTaskModel(network, [mtk.Task("left", loss), mtk.Task("right", loss)])
    model.compile()
    model.save(tmp_path / "whole.keras")
    loaded = load(tmp_path / "whole.keras")
    np.testing.assert_array_equal(loaded(x)["left"], network(x)["left"])


@pytest.mark.parametrize("layer", [keras.layers.Lambda, Applied])
def test_code_is_not_stored(tmp_path, layer):
    inputs = keras.Input((3,))
    network = keras.Model(inputs, {"y": layer(lambda x: 2 * x)(inputs)})
    path = tmp_path / "model.keras"
    with pytest.warns(UserWarning, match="not written.*get_config"):
        assert not save_keras(network, path)
    assert list(tmp_path.iterdir()) == []


def test_file_that_contains_code_is_refused(tmp_path):
    inputs = keras.Input((3,))
    network = keras.Model(inputs, {"y": keras.layers.Lambda(lambda x: 2 * x)(inputs)})
    network.save(tmp_path / "code.keras")
    with pytest.raises(ValueError, match=r"code\.keras.*cannot be loaded"):
        load(tmp_path / "code.keras")


def test_damaged_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(ValueError, match="no file"):
        load(path)
    save_keras(NETWORKS["dense"](), path)
    path.write_bytes(path.read_bytes()[:-200])
    assert not zipfile.is_zipfile(path)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(path)


def test_damaged_keras_file_is_refused_or_unaffected(tmp_path):
    path, network, (x, *_) = tmp_path / "model.keras", NETWORKS["dense"](), batch("dense")
    save_keras(network, path)
    expected = network(x, training=False)
    whole = path.read_bytes()
    for kept in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"model\.keras' cannot be loaded"):
            load(path)
    for place in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            loaded = load(path)
        except ValueError as error:
            assert "model.keras' cannot be loaded" in str(error)  # noqa: PT017
        else:
            found = loaded(x, training=False)
            for task, value in expected.items():
                np.testing.assert_array_equal(found[task], value)


def test_archive_that_unpacks_to_a_very_large_size_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    save_keras(NETWORKS["dense"](), path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/bomb", bytes(1 << 24))
    with pytest.raises(ValueError, match=r"model\.keras' cannot be loaded: .*unpacked"):
        load(path)


def test_layers_larger_than_their_weights_are_refused(tmp_path):
    """A file of some kilobytes has layers of 40 GB, which are not allocated."""
    network = keras.Sequential([keras.Input((10,)), keras.layers.Dense(123, name="one")])
    assert save_keras(network, tmp_path / "model.keras")
    assert isinstance(load(tmp_path / "model.keras"), keras.Model)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["config.json"] = parts["config.json"].replace(b": 123", b": 1000000000")
    with zipfile.ZipFile(tmp_path / "large.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"large\.keras' cannot be loaded: its layers have more"):
        load(tmp_path / "large.keras")


@keras.saving.register_keras_serializable("tests")
class OutsideOfGraphs(keras.initializers.Initializer):
    def __call__(self, shape, dtype=None):
        return tf.ones(shape, dtype).numpy()


def test_custom_initializer_may_need_eager_execution(tmp_path):
    network = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, kernel_initializer=OutsideOfGraphs())]
    )
    assert save_keras(network, tmp_path / "model.keras")
    np.testing.assert_array_equal(load(tmp_path / "model.keras")(np.eye(3)), np.ones((3, 2)))
