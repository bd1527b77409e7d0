"""Reservoir sampling."""

import itertools
import math
import random
from collections.abc import Iterable
from typing import TypeVar

_Item = TypeVar("_Item")


def reservoir(items: Iterable[_Item], size: int, seed: int) -> tuple[list[_Item], int]:
    """Draws uniformly without replacement, in one pass and little memory.

    Args:
        items: Items to draw from; their number need not be known.
        size: Number of items to draw, at least 1; all, if there are fewer.
        seed: Seed of the drawing.

    Returns:
        The drawn items, and the number of all items.

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
            # The largest of `size` uniform numbers below the previous such one; then, the number of
            # items that are not below it.
            weight *= math.exp(math.log(1.0 - generator.random()) / size)
            taken += int(math.log(1.0 - generator.random()) / math.log1p(-weight)) + 1
        if number == taken:
            drawn[generator.randrange(size)] = item
    return drawn, number
