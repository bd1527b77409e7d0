"""A strip of images, each with its true and predicted attributes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_WIDTH = 190  # pixels of a column, wide enough for the longest name
_MARGIN = 6
_FONT = 13
_LINE = 16
_TOP = _LINE + _MARGIN  # The legend of the colors is above the images.
_COLOURS = {"right": (0, 110, 0), "wrong": (200, 0, 0), "missed": (20, 60, 200)}
_KEY = {"right": "true positive", "wrong": "+ false positive", "missed": "- false negative"}


def captioned(
    images: np.ndarray, true: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Draws images side by side, with true or predicted attributes below each.

    Green is true and predicted, red and "+" predicted only, blue and "-" true only. Others are
    omitted.

    Args:
        images: Array `(N, height, width, 3)`, uint8.
        true: Boolean array `(N, K)`.
        predicted: Boolean array `(N, K)`.
        names: Names of the K attributes.

    Returns:
        Image `(height, width, 3)`, uint8.
    """
    captions = [_caption(t, p, names) for t, p in zip(true, predicted, strict=True)]
    face = _WIDTH - 2 * _MARGIN
    # Of fixed height whatever is predicted, so that TensorBoard's slider over steps does not jump.
    size = (_WIDTH * len(images), _TOP + face + len(names) * _LINE)
    strip = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(_FONT)
    for column, (kind, text) in enumerate(_KEY.items()):
        place = (column * _WIDTH + _MARGIN, 0)
        pen.text(place, text, fill=_COLOURS[kind], font=font)
    for column, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = column * _WIDTH + _MARGIN
        strip.paste(Image.fromarray(image).resize((face, face)), (left, _TOP))
        for row, (text, kind) in enumerate(caption):
            place = (left, _TOP + face + row * _LINE)
            pen.text(place, text, fill=_COLOURS[kind], font=font)
    return np.asarray(strip)


def _caption(
    true: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> list[tuple[str, str]]:
    """Returns the lines below an image, and the kind of each."""
    lines = []
    for has, found, name in zip(true, predicted, names, strict=True):
        label = name.replace("_", " ")
        if has and found:
            lines.append((label, "right"))
        elif found:
            lines.append((f"+ {label}", "wrong"))
        elif has:
            lines.append((f"- {label}", "missed"))
    return lines
