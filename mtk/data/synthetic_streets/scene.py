"""A synthetic street scene: simple shapes before a camera, with exact labels and depth."""

from typing import NamedTuple

import numpy as np

# The camera of CityScapes: 2048 pixels wide; in meters.
_WIDTH = 2048
_FOCAL = 2262.0
_BASELINE = 0.209
_HEIGHT = 1.22

_HAZE = np.array([205.0, 215.0, 225.0])
_HAZE_DISTANCE = 90.0  # meters at which two thirds of the color are haze
_FARTHEST = 80.0  # meters to the row of houses at the end of the street


class Canvas:
    """The camera image so far; nearer surfaces occlude farther ones.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        horizon: Row of the horizon.
        generator: Generator of colors and noise.

    Attributes:
        image: float `(height, width, 3)`, RGB in 0 ... 255.
        label_ids: uint8 `(height, width)`, CityScapes' own.
        disparity: float `(height, width)`, pixels at a width of 2048; zero at infinity.
        across: `(1, width)`, meters to the right of the camera at a distance of one meter.
        down: `(height, 1)`, meters below the horizon at a distance of one meter.
    """

    def __init__(self, height: int, width: int, horizon: float, generator: np.random.Generator):
        focal = _FOCAL * width / _WIDTH
        self.generator = generator
        self.image = np.zeros((height, width, 3))
        self.label_ids = np.zeros((height, width), np.uint8)
        self.disparity = np.zeros((height, width))
        self.across = (np.arange(width)[None, :] + 0.5 - width / 2) / focal
        self.down = (np.arange(height)[:, None] + 0.5 - horizon) / focal

    def paint(
        self, where: np.ndarray, label_id: int, colour: np.ndarray, distance: np.ndarray | float
    ) -> None:
        """Paints a surface where nothing nearer has been painted.

        Args:
            where: Boolean, broadcast to `(height, width)`.
            label_id: CityScapes' label id.
            colour: RGB, broadcast to `(height, width, 3)`.
            distance: Meters along the camera's axis, broadcast to `(height, width)`.
        """
        shape = self.label_ids.shape
        away = np.broadcast_to(np.asarray(distance, float), shape)
        disparity = _FOCAL * _BASELINE / away
        where = where & (disparity >= self.disparity)
        # The sky, although infinitely far, has its own color.
        clear = np.where(np.isinf(away), 1, np.exp(-away / _HAZE_DISTANCE))[where][:, None]
        own = np.broadcast_to(np.asarray(colour, float), (*shape, 3))[where]
        grain = self.generator.normal(0, 8, own.shape)
        self.image[where] = np.clip(own + grain, 0, 255) * clear + _HAZE * (1 - clear)
        self.label_ids[where] = label_id
        self.disparity[where] = disparity[where]


class Block(NamedTuple):
    """A surface that faces the camera; meters from the middle of the street and from the ground.

    Attributes:
        label_id: CityScapes' id.
        left: Position of its left edge.
        right: Position of its right edge.
        bottom: Height of its lower edge.
        top: Height of its upper edge.
        round: Whether it is an ellipse instead of a rectangle.
        colour: RGB.
    """

    label_id: int
    left: float
    right: float
    bottom: float
    top: float
    round: bool
    colour: np.ndarray


def put(canvas: Canvas, block: Block, distance: float) -> None:
    """Paints a block at a distance in meters."""
    x = canvas.across * distance
    y = _HEIGHT - canvas.down * distance
    if block.round:
        u = (2 * x - block.left - block.right) / (block.right - block.left)
        v = (2 * y - block.bottom - block.top) / (block.top - block.bottom)
        where = u * u + v * v <= 1
    else:
        where = (x >= block.left) & (x <= block.right) & (y >= block.bottom) & (y <= block.top)
    canvas.paint(where, block.label_id, block.colour, distance)


def ground(canvas: Canvas) -> None:
    """Paints the sky and, below it, road (id 7), sidewalks (8) and grass (22)."""
    shade = canvas.generator.uniform(0.8, 1.05)
    above = np.clip(-canvas.down * 6, 0, 1)[..., None]
    sky = shade * (np.array([190, 205, 220]) * (1 - above) + np.array([120, 165, 225]) * above)
    canvas.paint(canvas.down < 0, 23, sky, np.inf)
    distance = _HEIGHT / np.maximum(canvas.down, 1e-6)
    aside = np.abs(canvas.across * distance)
    road = np.full(3, canvas.generator.uniform(70, 110))
    lines = (aside < 0.12) & (distance % 6 < 3)
    below = canvas.down > 0
    canvas.paint(below, 22, colour(canvas.generator, (90, 130, 60)), distance)
    canvas.paint(below & (aside < 6.5), 8, road + 50, distance)
    canvas.paint(below & (aside < 4), 7, np.where(lines[..., None], 225, road), distance)


def houses(canvas: Canvas, side: int) -> None:
    """Paints a row of houses (id 11) and gardens along the street.

    Args:
        canvas: The canvas.
        side: -1 for the left, 1 for the right side.
    """
    generator = canvas.generator
    aside = generator.uniform(7, 10)
    along = np.where(canvas.across * side > 0, aside / np.maximum(canvas.across * side, 1e-6), 1e3)
    above = _HEIGHT - canvas.down * along
    start = generator.uniform(6, 14)
    while start < _FARTHEST:
        end = start + generator.uniform(6, 20)
        if generator.uniform() < 0.75:
            own = colour(generator, (150, 110, 90), 45)
            windows = (along % 3 < 1.3) & (above % 3 > 1.2) & (above > 1)
            own = np.where(windows[..., None], own * 0.45, own)
            where = (along >= start) & (along < end) & (above > 0)
            canvas.paint(where & (above < generator.uniform(5, 14)), 11, own, along)
        start = end


def skyline(canvas: Canvas) -> None:
    """Paints the end of the street: houses (id 11) and trees (21), far away."""
    left = -60.0
    while left < 60:
        right = left + canvas.generator.uniform(5, 15)
        house = canvas.generator.uniform() < 0.6
        base = (130, 115, 105) if house else (70, 105, 50)
        top = canvas.generator.uniform(6, 14)
        own = colour(canvas.generator, base)
        put(canvas, Block(11 if house else 21, left, right, 0, top, False, own), _FARTHEST)
        left = right


def colour(
    generator: np.random.Generator, base: tuple[int, int, int], spread: float = 20
) -> np.ndarray:
    """Draws a color near a given one."""
    return np.clip(np.array(base) + generator.uniform(-spread, spread, 3), 0, 255)
