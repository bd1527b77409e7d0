import numpy as np
import pytest

from mtk.data.digits import Digits
from mtk.data.overlay import make_pairs, overlay, resize_nearest


def test_overlay_equals_values_computed_by_hand():
    left = np.array([[[1, 2], [3, 4]]], np.uint8)
    right = np.array([[[3, 5], [6, 7]]], np.uint8)
    expected = [[1, 2, 0, 0], [3, 4, 5, 0], [0, 6, 7, 0], [0, 0, 0, 0]]
    found = overlay(left, right, offset=1, canvas=4)
    assert found.tolist() == [expected]
    assert found.dtype == np.uint8


@pytest.mark.parametrize(("offset", "canvas"), [(0, 5), (1, 6), (4, 12), (7, 12)])
def test_overlay_equals_pixelwise_computation(offset, canvas):
    generator = np.random.default_rng(0)
    left, right = generator.integers(0, 256, (2, 3, 5, 5)).astype(np.uint8)
    expected = np.zeros((3, canvas, canvas), int)
    for n, row, column in np.ndindex(left.shape):
        for image, shift in ((left, 0), (right, offset)):
            cell = (n, row + shift, column + shift)
            expected[cell] = max(expected[cell], image[n, row, column])
    np.testing.assert_array_equal(overlay(left, right, offset, canvas), expected)


@pytest.mark.parametrize(("offset", "canvas"), [(-1, 9), (3, 7)])
def test_too_large_offset_raises(offset, canvas):
    images = np.zeros((1, 5, 5), np.uint8)
    with pytest.raises(ValueError, match="do not fit on a canvas"):
        overlay(images, images, offset, canvas)


def test_resize_equals_values_computed_by_hand():
    image = np.arange(16).reshape(1, 4, 4)
    # Centres of two pixels on four lie on the borders 1 and 3, which belong to pixels 1 and 3.
    assert resize_nearest(image, 2).tolist() == [[[5, 7], [13, 15]]]
    assert resize_nearest(image, 4).tolist() == image.tolist()
    assert resize_nearest(image[:, :2, :2], 4)[0, 0].tolist() == [0, 0, 1, 1]


def test_resize_equals_tensorflow():
    import tensorflow as tf

    images = np.random.default_rng(0).integers(0, 256, (4, 36, 36)).astype(np.uint8)
    expected = tf.image.resize(images[..., None], (28, 28), method="nearest")[..., 0]
    np.testing.assert_array_equal(resize_nearest(images, 28), expected)


@pytest.fixture
def digits() -> Digits:
    """Digit i is an image of the value i + 1, which identifies it in a pair."""
    values = np.arange(1, 21, dtype=np.uint8)
    return Digits(np.broadcast_to(values[:, None, None], (20, 4, 4)), values.astype(np.int32) - 1)


@pytest.mark.parametrize("partners", [1, 3])
def test_pairs(digits, partners):
    pairs = make_pairs(digits, offset=2, canvas=6, size=6, seed=0, partners=partners)
    assert pairs.images.shape == (20 * partners, 6, 6)
    np.testing.assert_array_equal(pairs.images[:, 0, 0], pairs.left + 1)
    np.testing.assert_array_equal(pairs.images[:, 5, 5], pairs.right + 1)
    brightest = np.maximum(pairs.left, pairs.right) + 1
    np.testing.assert_array_equal(pairs.images[:, 3, 3], brightest)
    for labels in (pairs.left, pairs.right):
        np.testing.assert_array_equal(np.bincount(labels), np.full(20, partners))
    assert len(set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))) > 15 * partners


def test_partners_depend_on_the_seed(digits):
    one, same, other = (make_pairs(digits, 2, 6, 6, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.right, same.right)
    np.testing.assert_array_equal(one.left, other.left)
    assert (one.right != other.right).any()


def test_zero_partners_raise():
    digits = Digits(np.zeros((3, 8, 8), np.uint8), np.zeros(3, np.int32))
    with pytest.raises(ValueError, match="`partners` must be 1 or more"):
        make_pairs(digits, offset=2, canvas=10, size=10, seed=0, partners=0)
