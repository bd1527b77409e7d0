"""Decodes JPEG files to small arrays."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

_ALIGNED = (178, 218)  # Width and height of CelebA's aligned and cropped images.


def decode(encoded: bytes, name: str, size: int) -> np.ndarray:
    """Decodes an image and resizes it to a square.

    Bilinear with antialiasing, as in the public code of Sener & Koltun; faces become somewhat
    wider.

    Args:
        encoded: A JPEG file of 178 x 218 pixels.
        name: Name of the image in errors.
        size: Height and width of the result.

    Returns:
        Array `(size, size, 3)`, uint8.

    Raises:
        ValueError: If the image is damaged or has another size.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=["JPEG"]) as image:
            if image.size == _ALIGNED:  # Others may be too large to decode.
                image.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        why = "it is not a JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ValueError(
            f"The image {name} is damaged: it cannot be decoded ({why}). Download it again."
        ) from error
    if image.size != _ALIGNED:
        raise ValueError(
            f"The image {name} has {image.width}x{image.height} pixels, but CelebA's aligned "
            f"images have {_ALIGNED[0]}x{_ALIGNED[1]}."
        )
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)
