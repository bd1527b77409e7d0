"""Objects of a synthetic street, as blocks that face the camera."""

from collections.abc import Callable

import numpy as np

from mtk.data.synthetic_streets.scene import Block, colour

Generator = np.random.Generator
_DARK = np.array([25.0, 25.0, 30.0])


def _car(generator: Generator) -> list[Block]:
    """Draws a car (id 26) or a truck (27) on the road."""
    truck = generator.uniform() < 0.25
    x, width = generator.uniform(-3.2, 3.2), 2.4 if truck else 1.8
    top = generator.uniform(2.8, 3.6) if truck else generator.uniform(1.4, 1.7)
    label_id, own = 27 if truck else 26, generator.uniform(20, 235, 3)
    left, right = x - width / 2, x + width / 2
    wheels = [
        Block(label_id, edge, edge + 0.35, 0, 0.5, False, _DARK) for edge in (left, right - 0.35)
    ]
    return [
        *wheels,
        Block(label_id, left, right, 0.3, top, False, own),
        Block(label_id, left + 0.2, right - 0.2, 0.6 * top, 0.9 * top, False, _DARK + 40),
    ]


def _person(generator: Generator) -> list[Block]:
    """Draws a person (id 24) on a sidewalk or, sometimes, on the road."""
    x = generator.choice([-1, 1]) * generator.uniform(
        *((3.5, 6.2), (0, 3))[generator.random() < 0.2]
    )
    tall = generator.uniform(1.55, 1.95)
    trousers, shirt = generator.uniform(20, 110, 3), generator.uniform(30, 240, 3)
    skin = colour(generator, (200, 150, 120), 30)
    return [
        Block(24, x - 0.25, x + 0.25, 0, 0.5 * tall, False, trousers),
        Block(24, x - 0.35, x + 0.35, 0.45 * tall, 0.85 * tall, False, shirt),
        Block(24, x - 0.18, x + 0.18, 0.82 * tall, tall, True, skin),
    ]


def _pole(generator: Generator) -> list[Block]:
    """Draws a pole (id 17) beside the road, with a traffic light (19) or a sign (20)."""
    x = generator.choice([-1, 1]) * generator.uniform(4.1, 4.8)
    tall = generator.uniform(3, 5)
    grey = np.full(3, generator.uniform(120, 170))
    pole = Block(17, x - 0.14, x + 0.14, 0, tall, False, grey)
    if generator.uniform() < 0.5:
        return [pole, Block(19, x - 0.3, x + 0.3, tall - 1.2, tall, False, _DARK)]
    sign = colour(generator, (210, 40, 40) if generator.uniform() < 0.5 else (40, 60, 200))
    return [pole, Block(20, x - 0.5, x + 0.5, tall - 1, tall, True, sign)]


def _tree(generator: Generator) -> list[Block]:
    """Draws a tree (id 21) behind the sidewalk."""
    x = generator.choice([-1, 1]) * generator.uniform(5.5, 9)
    wide, trunk = generator.uniform(1.2, 2.2), generator.uniform(1.5, 2.5)
    leaves = colour(generator, (60, 110, 40), 25)
    return [
        Block(21, x - 0.2, x + 0.2, 0, trunk + 0.5, False, colour(generator, (95, 75, 50))),
        Block(21, x - wide, x + wide, trunk, trunk + 2 * wide, True, leaves),
    ]


# Each with its least and largest number, and its range of distances in meters.
_KINDS: tuple[tuple[Callable[[Generator], list[Block]], int, int, float, float], ...] = (
    (_car, 1, 4, 8, 40),
    (_person, 2, 5, 6, 20),
    (_pole, 2, 4, 6, 22),
    (_tree, 1, 4, 8, 45),
)


def things(generator: Generator) -> list[tuple[float, list[Block]]]:
    """Draws the objects of a street: `(distance in meters, blocks)`."""
    found = []
    for kind, fewest, most, near, far in _KINDS:
        for _ in range(generator.integers(fewest, most + 1)):
            # Log-uniform, since sizes in the image are proportional to 1 / distance.
            distance = float(np.exp(generator.uniform(np.log(near), np.log(far))))
            found.append((distance, kind(generator)))
    return found
