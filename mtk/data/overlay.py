"""Overlays two digits, left and right, in one image."""

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


def overlay(left: np.ndarray, right: np.ndarray, offset: int, canvas: int) -> np.ndarray:
    """Overlays pairs of images; where they overlap the brighter pixel is taken.

    Args:
        left: `(N, height, width)`, placed at the top left.
        right: `(N, height, width)`, placed `offset` pixels further down and to the right.
        offset: Offset in pixels.
        canvas: Height and width of the result.

    Returns:
        `(N, canvas, canvas)`, zero where neither image is.

    Raises:
        ValueError: If the images do not fit on the canvas.
    """
    number, height, width = left.shape
    if offset < 0 or canvas < max(height, width) + offset:
        raise ValueError(
            f"Two images of {height}x{width} pixels, {offset} pixels apart, do not fit on a "
            f"canvas of {canvas}x{canvas} pixels. Use a larger canvas or a smaller offset (0 or "
            "more)."
        )
    both = np.zeros((number, canvas, canvas), left.dtype)
    both[:, :height, :width] = left
    bottom_right = both[:, offset : offset + height, offset : offset + width]
    np.maximum(bottom_right, right, out=bottom_right)
    return both


def resize_nearest(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes images `(N, height, width)` to `(N, size, size)`.

    A pixel takes the value of the source pixel that contains its center.
    """
    rows, columns = (
        (2 * np.arange(size) + 1) * length // (2 * size) for length in images.shape[1:]
    )
    return images[:, rows[:, None], columns[None, :]]


def make_pairs(
    digits: Digits, offset: int, canvas: int, size: int, seed: int, partners: int = 1
) -> Pairs:
    """Pairs every digit with others of the same set.

    Args:
        digits: The N digits.
        offset: Offset from the left digit to the right one; see `overlay`.
        canvas: Height and width of the image on which they are placed.
        size: Height and width to which it is then resized.
        seed: Seed of the partners, which are drawn by permutations, so that each digit is equally
            often on either side.
        partners: Number of partners of each digit; the result holds `N * partners` pairs.

    Returns:
        The pairs.

    Raises:
        ValueError: If `partners` is less than one.
    """
    if partners < 1:
        raise ValueError(f"`partners` must be 1 or more. Received: partners={partners}")
    generator = np.random.default_rng(seed)
    number = len(digits.labels)
    left = digits.take(np.tile(np.arange(number), partners))
    right = digits.take(np.concatenate([generator.permutation(number) for _ in range(partners)]))
    images = resize_nearest(overlay(left.images, right.images, offset, canvas), size)
    return Pairs(images, left.labels, right.labels)
