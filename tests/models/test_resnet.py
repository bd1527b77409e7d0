import keras
import numpy as np
import pytest

from mtk.models import resnet18

SMALL = (4, 6, 8, 10)


def _trunk(widths: tuple[int, ...], channels: int) -> int:
    """Trainable parameters before the heads: kernels, and a scale and an offset per channel."""
    total = 9 * channels * widths[0] + 2 * widths[0]
    before = widths[0]
    for width in widths:
        total += 9 * before * width + 3 * 9 * width * width + 4 * 2 * width
        if width != before:
            total += before * width + 2 * width
        before = width
    return total


def _trainable(network: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


def test_parameters_of_the_celeba_network():
    # The well-known 11,689,512 of ResNet-18 on ImageNet, without its dense layer of 1000 outputs,
    # and with a 3x3 stem instead of 7x7.
    trunk = 11_689_512 - (512 * 1000 + 1000) - 49 * 3 * 64 + 9 * 3 * 64
    assert _trunk((64, 128, 256, 512), 3) == trunk
    network = resnet18((64, 64, 3), [f"attribute_{i}" for i in range(40)])
    assert _trainable(network) == trunk + 40 * (2048 * 2 + 2)
    assert network.get_layer("representation").output.shape == (None, 2048)


@pytest.mark.parametrize("tasks", [1, 3])
def test_parameters_and_outputs_of_a_small_network(tasks):
    names = [f"task_{i}" for i in range(tasks)]
    network = resnet18((32, 32, 1), names, num_classes=5, widths=SMALL)
    assert _trainable(network) == _trunk(SMALL, 1) + tasks * (10 * 5 + 5)
    outputs = network(np.zeros((2, 32, 32, 1)))
    assert list(outputs) == names
    assert {tuple(logits.shape) for logits in outputs.values()} == {(2, 5)}


def test_resolution_of_the_stages():
    network = resnet18((64, 64, 3), ["a"], widths=SMALL)
    sizes = [network.get_layer(f"stage_{i}_block_2_2_relu").output.shape[1:] for i in (1, 2, 3, 4)]
    assert sizes == [(64, 64, 4), (32, 32, 6), (16, 16, 8), (8, 8, 10)]


def test_a_block_adds_its_input():
    network = resnet18((32, 32, 1), ["a"], widths=SMALL, seed=0)
    network.get_layer("stage_1_block_2_2_norm").gamma.assign(np.zeros(4))
    before, after = (network.get_layer(f"stage_1_block_{i}_2_relu").output for i in (1, 2))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 1))
    one, two = keras.Model(network.input, [before, after])(x)
    np.testing.assert_array_equal(one, two)


def test_seed_determines_weights():
    one, same, other = (resnet18((32, 32, 1), ["a"], widths=SMALL, seed=s) for s in (1, 1, 2))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 1))
    np.testing.assert_array_equal(one(x)["a"], same(x)["a"])
    assert not np.allclose(one(x)["a"], other(x)["a"])


@pytest.mark.parametrize("synchronized", [True, False])
def test_batch_norm_is_synchronized_on_request(synchronized):
    network = resnet18((32, 32, 1), ["a"], widths=SMALL, synchronized=synchronized)
    norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 1 + 16 + 3
    assert {norm.synchronized for norm in norms} == {synchronized}


def test_images_too_small_to_pool_are_refused():
    assert resnet18((25, 40, 3), ["a"], widths=SMALL)(np.zeros((1, 25, 40, 3)))["a"].shape == (1, 2)
    with pytest.raises(ValueError, match=r"at least 25 pixels.*input_shape=\(40, 24, 3\)"):
        resnet18((40, 24, 3), ["a"])


def test_no_1x1_convolution_is_strided():
    """oneDNN writes out of bounds in the gradient of strided 1x1 convolutions with few channels."""
    network = resnet18((64, 64, 3), ["a"], widths=(2, 3, 4, 5))
    strides = {
        layer.strides
        for layer in network.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1)
    }
    assert strides == {(1, 1)}
