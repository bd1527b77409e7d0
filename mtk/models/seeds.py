"""Seeds for the layers of a network."""

from collections.abc import Iterator

import numpy as np


def layer_seeds(seed: int | None) -> Iterator[int | None]:
    """Yields a seed for each initializer and dropout layer of a network.

    Two initializers with the same seed would draw the same numbers, so each gets its own.

    Args:
        seed: Seed of the network. Without it the seeds are `None`: Keras draws them from its global
            generator, seeded by `keras.utils.set_random_seed`.
    """
    sequence = None if seed is None else np.random.SeedSequence(seed)
    while True:
        yield None if sequence is None else int(sequence.spawn(1)[0].generate_state(1)[0] >> 1)
