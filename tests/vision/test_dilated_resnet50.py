"""The dilated ResNet-50 against Keras' ResNet-50, and the network with its heads."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.models import deeplab, imagenet
from mtk.models import resnet50 as residual
from mtk.models.deeplab import Head
from mtk.models.resnet50 import resnet50
from mtk.models.seeds import layer_seeds

SMALL = {"blocks": (1, 1, 1, 1), "widths": (4, 4, 4, 4)}


def images(height, width, number=1):
    shape = (number, height, width, 3)
    return np.random.default_rng(0).normal(scale=60, size=shape).astype("float32")


def trunk(height, width, output_stride, **options):
    image = keras.Input((height, width, 3))
    features = resnet50(image, layer_seeds(0), output_stride, synchronized=False, **options)
    return keras.Model(image, features)


def with_statistics(model):
    """Assigns random batch norm statistics and parameters, so that mixed-up layers are detected."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
        elif layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(scale=0.1, size=bias.shape)])
    return model


@pytest.fixture(scope="module")
def official():
    return with_statistics(keras.applications.ResNet50(include_top=False, weights=None))


@pytest.fixture(scope="module")
def path(official, tmp_path_factory):
    """The path of the official network's weights."""
    path = tmp_path_factory.mktemp("weights") / "resnet50.weights.h5"
    official.save_weights(path)
    return path


@pytest.mark.slow
def test_without_dilation_outputs_equal_those_of_keras(official, path):
    network = trunk(32, 64, 32)
    imagenet.load_imagenet(network, str(path))
    x = images(32, 64)
    expected = official(x, training=False).numpy()
    found = network(x, training=False).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4)


def test_dilation_keeps_the_values_of_the_coarse_output():
    coarse = with_statistics(trunk(64, 64, 32, **SMALL))
    fine = trunk(64, 64, 8, **SMALL)
    fine.set_weights(coarse.get_weights())
    x = images(64, 64)
    kept = fine(x, training=False).numpy()[:, ::4, ::4]
    expected = coarse(x, training=False).numpy()
    np.testing.assert_allclose(kept, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("rate", [2, 3, 6])
def test_gradients_of_dilated_convolution_equal_those_of_keras(rate, dtype):
    """TensorFlow lacks the kernel gradient of dilated convolutions on some CPUs."""
    x = tf.random.stateless_normal((2, 8, 9, 3), (rate, 1), dtype=dtype)
    given = {"filters": 4, "kernel_size": 3, "dilation_rate": rate, "padding": "same"}
    results = []
    for kind in (residual.DilatedConv2D, keras.layers.Conv2D):
        keras.utils.set_random_seed(rate)
        layer = kind(
            **given, dtype=keras.DTypePolicy(f"mixed_{dtype}".replace("mixed_float32", "float32"))
        )
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
        found = [y, *tape.gradient(loss, [x, layer.kernel.value])]
        results.append([tf.cast(each, tf.float32).numpy() for each in found])
    size = {"float32": 1e-5, "bfloat16": 5e-2, "float16": 5e-3}[dtype]
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, atol=size * np.abs(expected).max())


@pytest.mark.parametrize("is_able", [False, True])
def test_dilated_convolution_is_the_same_with_and_without_native_gradient(is_able, monkeypatch):
    monkeypatch.setattr(residual, "_has_gradient", lambda dtype: is_able)
    given = {"filters": 4, "kernel_size": 3, "dilation_rate": 5, "padding": "same"}
    x = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype("float32")
    own, plain = residual.DilatedConv2D(**given), keras.layers.Conv2D(**given)
    own.build(x.shape)
    plain.build(x.shape)
    own.set_weights(plain.get_weights())
    np.testing.assert_allclose(own(x), plain(x), atol=1e-5)


def test_invalid_output_stride_raises():
    with pytest.raises(ValueError, match="`output_stride` must be 4, 8, 16 or 32. Received: 12"):
        trunk(64, 64, 12, **SMALL)


def test_outputs_have_one_prediction_per_pixel():
    outputs = {"segmentation": 7, "depth": 1}
    network = deeplab((32, 64, 3), outputs, head=Head(width=4), seed=0, **SMALL)
    found = network(images(32, 64, 2), training=False)
    assert {task: tuple(y.shape) for task, y in found.items()} == {
        "segmentation": (2, 32, 64, 7),
        "depth": (2, 32, 64, 1),
    }
    names = {layer.name for layer in network.layers}
    for task in outputs:
        assert {f"{task}_rate_{rate}_convolution" for rate in (12, 24, 36)} < names
    with pytest.raises(ValueError, match="multiples of the output stride 8. Received: 30x64"):
        deeplab((30, 64, 3), outputs, **SMALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_weights_of_another_network_raise(tmp_path):
    with pytest.raises(ValueError, match="no file with ResNet-50 weights at"):
        deeplab((32, 64, 3), {"depth": 1}, weights=str(tmp_path / "none.h5"), **SMALL)
    wrong = tmp_path / "wrong.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(wrong)
    with pytest.raises(ValueError, match="does not contain the weights"):
        deeplab((32, 64, 3), {"depth": 1}, weights=str(wrong), **SMALL)


def test_failed_download_of_weights_raises(monkeypatch):
    def fail(*_, **__):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "ResNet50", fail)
    with pytest.raises(
        ValueError, match=r"could not download the ImageNet weights.*set `weights` to a"
    ):
        deeplab((32, 64, 3), {"depth": 1}, weights="imagenet", **SMALL)


@pytest.mark.filterwarnings("ignore:Skipping nested container")
def test_imagenet_weights_for_a_scaled_down_network_raise(path):
    with pytest.raises(ValueError, match="fit only the full-size ResNet-50"):
        deeplab((32, 64, 3), {"depth": 1}, weights=str(path), **SMALL)
