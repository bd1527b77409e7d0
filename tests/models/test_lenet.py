import keras
import numpy as np
import pytest

from mtk.models import lenet


def test_parameters_of_the_multi_mnist_network():
    """Counted by hand: 28 -> 24 -> 12 -> 8 -> 4 pixels, so the dense layer reads 4 * 4 * 20."""
    shared = (25 * 10 + 10) + (25 * 10 * 20 + 20) + (320 * 50 + 50)
    head = (50 * 50 + 50) + (50 * 10 + 10)
    assert lenet((28, 28, 1), ["left", "right"]).count_params() == shared + 2 * head == 27_450


def test_order_of_layers():
    names = [layer.name for layer in lenet((28, 28, 1), ["left"]).layers]
    assert names == [
        "image",
        "convolution_1",
        "pooling_1",
        "relu_1",
        "convolution_2",
        "dropout_of_channels",
        "pooling_2",
        "relu_2",
        "flatten",
        "representation",
        "left_hidden",
        "left_dropout",
        "left_logits",
    ]


@pytest.mark.parametrize("tasks", [["a"], ["b", "a", "c"]])
def test_one_output_per_task(tasks):
    outputs = lenet((10, 10, 1), tasks, num_classes=3, kernel=3)(np.zeros((5, 10, 10, 1)))
    assert list(outputs) == tasks
    assert {tuple(logits.shape) for logits in outputs.values()} == {(5, 3)}


def test_seed_determines_weights_and_dropout():
    images = np.random.default_rng(0).normal(size=(4, 10, 10, 1)).astype("float32")
    one, same, other = (lenet((10, 10, 1), ["a"], kernel=3, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one(images, training=True)["a"], same(images, training=True)["a"])
    kernels = [layer.kernel.numpy() for layer in one.layers if hasattr(layer, "kernel")]
    others = [layer.kernel.numpy() for layer in other.layers if hasattr(layer, "kernel")]
    assert not any(np.allclose(a, b) for a, b in zip(kernels, others, strict=True))


def test_heads_of_equal_shape_start_from_different_weights():
    network = lenet((10, 10, 1), ["a", "b"], kernel=3, seed=1)
    a, b = (network.get_layer(f"{task}_hidden").kernel.numpy() for task in "ab")
    assert not np.allclose(a, b)


def test_dropout_drops_whole_channels_before_the_representation():
    network = lenet((10, 10, 1), ["a"], kernel=3, dropout=0.5, seed=1)
    inside = keras.Model(network.input, network.get_layer("dropout_of_channels").output)
    images = np.random.default_rng(0).normal(size=(64, 10, 10, 1)).astype("float32")
    dropped = inside(images, training=True).numpy() == 0
    by_channel = dropped.mean(axis=(1, 2))
    assert set(np.unique(by_channel)) == {0.0, 1.0}
    assert 0.4 < by_channel.mean() < 0.6


@pytest.mark.parametrize(("size", "kernel"), [(10, 3), (16, 5), (13, 4)])
def test_smallest_image_size(size, kernel):
    smallest = lenet((size, size, 1), ["a"], kernel=kernel)
    assert smallest.get_layer("flatten").output.shape == (None, 20)
    for shape in ((size - 1, size, 1), (size, size - 1, 1)):
        with pytest.raises(ValueError, match=f"too small.*at least {size}x{size}"):
            lenet(shape, ["a"], kernel=kernel)
