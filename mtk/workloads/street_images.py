"""Images of street scenes with true and predicted labels."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mtk.data.street_labels import CATEGORIES, COLOURS, VOID
from mtk.data.streets import Streets

_COLUMNS = ("street", "category", "predicted", "depth: near is bright", "predicted")
_TOP = 18  # pixels for the names of the columns
_GAP = 4
_FONT = 13
_WIDTH = 256  # pixels of a column, wide enough for its name
_VOID_COLOUR = (0, 0, 0)
_UNMEASURED_COLOUR = (60, 0, 60)


def draw_streets(streets: Streets, categories: np.ndarray, depths: np.ndarray) -> np.ndarray:
    """Draws a row for each scene: image, true and predicted categories, true and predicted depth.

    Categories have CityScapes' colors; void is black. Depths of a scene share one scale; missing
    depth is purple. (The network's predictions for void and unmeasured pixels cannot be verified.)
    A legend of the colors is below.

    Args:
        streets: N scenes.
        categories: Integer array `(N, height, width)`, predicted.
        depths: Float array `(N, height, width)`, predicted.

    Returns:
        Image `(height, width, 3)`, uint8.
    """
    height, width = streets.depths.shape[1:]
    scale = max(1, _WIDTH // width)
    size = (width * scale + _GAP, height * scale + _GAP)
    number = len(streets.images)
    picture = Image.new("RGB", (size[0] * len(_COLUMNS), 2 * _TOP + size[1] * number), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT)
    for column, name in enumerate(_COLUMNS):
        pen.text((column * size[0], 0), name, fill="black", font=font)
    for row in range(number):
        brightest = max(float(streets.depths[row].max()), 1e-6)
        cells = (
            streets.images[row],
            _coloured(streets.categories[row]),
            _coloured(categories[row]),
            _shaded(streets.depths[row], brightest),
            _shaded(np.maximum(depths[row], 1e-9), brightest),
        )
        for column, cell in enumerate(cells):
            image = Image.fromarray(cell).resize((width * scale, height * scale), 0)
            picture.paste(image, (column * size[0], _TOP + row * size[1]))
    _draw_key(pen, _TOP + size[1] * number, picture.width)
    return np.asarray(picture)


def _draw_key(pen: ImageDraw.ImageDraw, top: int, width: int) -> None:
    """Draws the legend of the colors, in one line."""
    font = ImageFont.load_default(_FONT)
    meanings = [*zip(CATEGORIES, map(tuple, COLOURS.tolist()), strict=True)]
    meanings += [("void", _VOID_COLOUR), ("not measured", _UNMEASURED_COLOUR)]
    for number, (name, colour) in enumerate(meanings):
        left = number * width // len(meanings)
        pen.rectangle((left, top + 3, left + _FONT - 3, top + _FONT), fill=colour)
        pen.text((left + _FONT + 2, top), name, fill="black", font=font)


def _coloured(categories: np.ndarray) -> np.ndarray:
    palette = np.concatenate([COLOURS, np.array([_VOID_COLOUR], np.uint8)])
    return palette[np.where(categories == VOID, len(COLOURS), categories)]


def _shaded(depths: np.ndarray, brightest: float) -> np.ndarray:
    # NaN predictions of a diverged network are drawn black.
    grey = (np.clip(np.nan_to_num(depths) / brightest, 0, 1) * 255).astype(np.uint8)
    unmeasured = np.array(_UNMEASURED_COLOUR, np.uint8)
    return np.where(depths[..., None] != 0, grey[..., None], unmeasured)
