"""Which models validation selects, to be measured again with fresh seeds."""

from collections.abc import Hashable, Sequence

import numpy as np

from mtk.analysis.fronts import non_dominated

# Of one method's models, so many at most.
MOST_MODELS = 5


def best_of_each(groups: Sequence[Hashable], values: np.ndarray) -> list[int]:
    """Returns the position of the smallest value in each group: a weighting's best parameters.

    Args:
        groups: `(N,)`, equal for models that weigh the tasks alike.
        values: `(N,)`, what validation selects by; less is better.
    """
    best: dict[Hashable, int] = {}
    for number in np.argsort(values, kind="stable"):
        if np.isfinite(values[number]):
            best.setdefault(groups[number], int(number))
    return sorted(best.values())


def spread_front(losses: np.ndarray, values: np.ndarray, most: int = MOST_MODELS) -> list[int]:
    """Returns the positions of the models that no other one dominates, so many at most.

    Of more, the one with the smallest value, and then always the one farthest from those that are
    taken, in widths of the front.

    Args:
        losses: `(N, K)` in validation; less is better.
        values: `(N,)`, what validation selects by; less is better.
        most: How many.
    """
    usable = np.flatnonzero(np.isfinite(losses).all(1) & np.isfinite(values))
    if not len(usable):
        return []
    front = usable[non_dominated(losses[usable])]
    width = np.ptp(losses[front], axis=0)
    place = losses[front] / np.where(width > 0, width, 1.0)
    taken = [int(values[front].argmin())]
    while len(taken) < min(most, len(front)):
        distance = np.abs(place[:, None] - place[taken]).max(2).min(1)
        distance[taken] = -1.0
        taken.append(int(distance.argmax()))
    return sorted(front[taken].tolist())
