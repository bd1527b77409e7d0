"""Two digits in one image, the left one and the right one."""

from typing import NamedTuple

import numpy as np

from mtk.data.digits import Digits


class Pairs(NamedTuple):
    """Images of two digits.

    Attributes:
        images: uint8 `(N, height, width)`.
        left: int32 `(N,)`, label of the digit at the top left.
        right: int32 `(N,)`, label of the digit at the bottom right.
    """

    images: np.ndarray
    left: np.ndarray
    right: np.ndarray


def overlay(left: np.ndarray, right: np.ndarray, offset: int) -> np.ndarray:
    """Lays pairs of images over each other; where they meet the brighter pixel wins.

    Args:
        left: `(N, height, width)`, put at the top left.
        right: `(N, height, width)`, put `offset` pixels further down and to the right.
        offset: In pixels. The canvas is as much larger than one image.

    Returns:
        `(N, height + offset, width + offset)`.
    """
    number, height, width = left.shape
    canvas = np.zeros((number, height + offset, width + offset), left.dtype)
    canvas[:, :height, :width] = left
    bottom_right = canvas[:, offset:, offset:]
    np.maximum(bottom_right, right, out=bottom_right)
    return canvas


def resize_nearest(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes images `(N, height, width)` to `(N, size, size)`.

    A pixel takes the value of the source pixel that its centre falls into.
    """
    rows, columns = (
        (2 * np.arange(size) + 1) * length // (2 * size) for length in images.shape[1:]
    )
    return images[:, rows[:, None], columns[None, :]]


def make_pairs(digits: Digits, offset: int, size: int, partners: int, seed: int) -> Pairs:
    """Pairs every digit with others of the same set.

    Args:
        digits: The N digits.
        offset: See `overlay`.
        size: Height and width of the result.
        partners: How many pairs a digit opens; the result holds `N * partners` pairs.
        seed: Of the drawing of partners. They are drawn by permutations, so that each digit stands
            equally often on either side.

    Returns:
        The pairs.
    """
    generator = np.random.default_rng(seed)
    number = len(digits.labels)
    first = digits.take(np.tile(np.arange(number), partners))
    second = digits.take(np.concatenate([generator.permutation(number) for _ in range(partners)]))
    images = resize_nearest(overlay(first.images, second.images, offset), size)
    return Pairs(images, first.labels, second.labels)
