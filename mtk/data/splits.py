"""Splits a dataset at random."""

from collections.abc import Sequence

import numpy as np

from mtk.display import counted


def split(num_examples: int, sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    """Draws disjoint subsets.

    Args:
        num_examples: Number of examples.
        sizes: Size of each subset; together at most `num_examples`.
        seed: Seed of the drawing.

    Returns:
        One int64 vector of indices per subset.

    Raises:
        ValueError: If a subset is empty, or all together are larger than the dataset.
    """
    if min(sizes) < 1 or sum(sizes) > num_examples:
        raise ValueError(
            f"Cannot split {counted(num_examples, 'example')} into subsets of {list(sizes)}: "
            "each subset needs 1 or more examples, and their sum must not exceed the total."
        )
    order = np.random.default_rng(seed).permutation(num_examples)
    return np.split(order, np.cumsum(sizes))[: len(sizes)]
