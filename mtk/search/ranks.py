"""Orders trials from the best to the worst where they have several losses."""

import numpy as np


def by_front(losses: np.ndarray) -> list[int]:
    """Returns the positions of points, the best first.

    Points that none dominates come first, then those that only these dominate, and so on
    (non-dominated ranks). Within a rank each next one adds the most hypervolume to those before,
    so that any beginning of the order spreads over the front.

    Args:
        losses: `(N, K)`; less is better.

    Reference:
        Ranks: Deb et al., *A fast and elitist multiobjective genetic algorithm: NSGA-II* (2002).
    """
    left, order = list(range(len(losses))), list[int]()
    while left:
        from mtk.analysis.fronts import non_dominated

        rank = [left[n] for n in np.flatnonzero(non_dominated(losses[left]))]
        order += _spread(losses, rank, order)
        left = [number for number in left if number not in rank]
    return order


def _spread(losses: np.ndarray, rank: list[int], before: list[int]) -> list[int]:
    """Returns a rank in the order in which its points add hypervolume, ties as they are."""
    from mtk.analysis.indicators import hypervolume  # Takes a second.

    own = losses[rank]
    width = np.ptp(own, axis=0)
    units = (losses - own.min(0)) / np.where(width > 0, width, 1.0)
    corner = np.full(losses.shape[1], 1.1)
    left, found = list(rank), list[int]()
    while left:
        volumes = [hypervolume(units[[*before, *found, each]], corner) for each in left]
        found.append(left.pop(int(np.argmax(volumes))))
    return found
