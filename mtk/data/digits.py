"""The 1,797 handwritten digits included in scikit-learn: 8x8 pixels, no download."""

from typing import NamedTuple

import numpy as np

from mtk import extras


class Digits(NamedTuple):
    """Images of single digits.

    Attributes:
        images: uint8 `(N, height, width)`.
        labels: int32 `(N,)`, 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray

    def take(self, indices: np.ndarray) -> "Digits":
        """Returns the digits at `indices`, in that order."""
        return Digits(self.images[indices], self.labels[indices])


def load_digits() -> Digits:
    """Loads the digits, with pixels from 0 to 16.

    Raises:
        ImportError: If scikit-learn is not installed.

    Reference:
        Alpaydin & Kaynak, *Optical Recognition of Handwritten Digits*, UCI repository (1998).
    """
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            "The built-in digits come from scikit-learn, which is not installed. Install it "
            f"with: {extras.command('demo')}"
        ) from error
    digits = datasets.load_digits()
    return Digits(digits.images.astype(np.uint8), digits.target.astype(np.int32))
