"""Drawing a few of very many."""

import itertools
import math
import random
from collections.abc import Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


def reservoir(items: Iterable[_Item], size: int, seed: int) -> tuple[list[_Item], int]:
    """Draws without replacement, each with equal chance, in one pass and little memory.

    Args:
        items: To draw from; their number need not be known.
        size: How many to draw, 1 or more; all, if there are fewer.
        seed: Of the drawing.

    Returns:
        What was drawn, and how many there were.

    Reference:
        Li, *Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n)))* (1994), algorithm
        L.
    """
    generator = random.Random(seed)
    numbered = enumerate(items, start=1)
    drawn = [item for _, item in itertools.islice(numbered, size)]
    number = len(drawn)
    weight, taken = 1.0, size
    for number, item in numbered:
        if number > taken:
            # The largest of `size` uniform numbers that lie below the last such one; then, how many
            # items fail to fall below it.
            weight *= math.exp(math.log(1.0 - generator.random()) / size)
            taken += int(math.log(1.0 - generator.random()) / math.log1p(-weight)) + 1
        if number == taken:
            drawn[generator.randrange(size)] = item
    return drawn, number
