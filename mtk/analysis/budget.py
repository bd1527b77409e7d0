"""Fronts compared at equal budgets: as many configurations on both sides."""

from typing import NamedTuple

import numpy as np

from mtk.analysis.candidate import Candidates
from mtk.analysis.indicators import hypervolume
from mtk.analysis.margins import widths

_DRAWS = 200
# Exact hypervolumes take exponentially longer with more tasks.
MOST_TASKS = 5


class EqualBudget(NamedTuple):
    """Hypervolumes in test of what validation selects, in units of the static front's width.

    Attributes:
        size: Configurations on each side.
        method: Mean over the method's sub-grids of that size.
        static: Mean over those of the static weights.
        share: Of all pairs of sub-grids, those in which the method's volume is larger; ties half.
    """

    size: int
    method: float
    static: float
    share: float


def equal_budget(method: Candidates, static: Candidates) -> EqualBudget:
    """Compares random sub-grids of equal size.

    A method with 3 configurations against static weights with 27 has had a ninth of their chances:
    here both have the smaller number.

    Args:
        method: The method's configurations.
        static: The static weightings.
    """
    generator = np.random.default_rng(0)
    size = min(len(method), len(static))
    scale, corner = widths(static.test[static.selected]), reference(static)
    own, other = (
        np.array([_volume(models, size, corner, scale, generator) for _ in range(_DRAWS)])
        for models in (method, static)
    )
    wins = (own[:, None] > other).mean() + 0.5 * (own[:, None] == other).mean()
    return EqualBudget(size, float(own.mean()), float(other.mean()), float(wins))


def reference(static: Candidates) -> np.ndarray:
    """Returns the corner `(K,)` of the volumes: a tenth of its width behind the static front."""
    return static.test[static.selected].max(0) + 0.1 * widths(static.test[static.selected])


def volume(models: Candidates, corner: np.ndarray, scale: np.ndarray) -> float:
    """Returns the hypervolume in test of the models that validation selects."""
    return hypervolume(models.test[models.selected] / scale, corner / scale)


def _volume(
    models: Candidates,
    size: int,
    corner: np.ndarray,
    scale: np.ndarray,
    generator: np.random.Generator,
) -> float:
    return volume(models[generator.permutation(len(models))[:size]], corner, scale)
