"""Points spread over the space regardless of results, as baselines for other samplers."""

import numpy as np

from mtk.search.samplers.base import Sampler
from mtk.search.space import Point


class Random(Sampler):
    """Draws points uniformly from the space."""

    def propose(self, number: int) -> list[Point]:
        """Draws points."""
        first = len(self.trials)
        draws = (np.random.default_rng([self.seed, first + n]) for n in range(number))
        return [self.space.point(draw.random(self.space.size)) for draw in draws]


class Sobol(Sampler):
    """Takes the points of a scrambled Sobol sequence, which fills the space evenly."""

    def propose(self, number: int) -> list[Point]:
        """Takes the next points."""
        first, size = len(self.trials), self.space.size
        rows = (sobol(size, first + n, self.seed) for n in range(number))
        return [self.space.point(row) for row in rows]


def sobol(size: int, number: int, seed: int) -> np.ndarray:
    """Returns a point `(size,)` of a scrambled Sobol sequence by its number, from 0."""
    from scipy.stats import qmc  # Takes half a second to import.

    sequence = qmc.Sobol(size, rng=seed)
    if number:  # SciPy cannot fast-forward by zero.
        sequence.fast_forward(number)
    return np.asarray(sequence.random(1)[0])
