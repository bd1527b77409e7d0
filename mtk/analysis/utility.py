"""How methods rank as the user's interest moves between the tasks."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mtk.analysis.candidate import Candidates
from mtk.analysis.indicators import simplex


def utilities(methods: Mapping[str, Candidates], scale: np.ndarray) -> pd.DataFrame:
    """Returns what each method reaches for each weighting of the tasks in the evaluation.

    For every weighting, validation selects each method's configuration, and its weighted mean in
    test is what the user gets.

    Args:
        methods: Their configurations.
        scale: `(K,)`, what counts as one in each task; ones for raw values.

    Returns:
        A column for each method, a row for each weighting; less is better. Two tasks: 101
        weightings in order, indexed by the first task's weight. More: 2,048 weightings spread
        evenly over the simplex.
    """
    weights = interests(len(scale))
    table = pd.DataFrame(
        {name: _reached(models, weights / scale) for name, models in methods.items() if len(models)}
    )
    return table.set_axis(pd.Index(weights[:, 0], name="weight of the first task"))


def ranks(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the rank of each method for each weighting, 1 the best; ties share the mean."""
    return found.rank(axis=1)


def interests(num_tasks: int) -> np.ndarray:
    """Returns the weightings `(W, K)` of the tasks in the evaluation."""
    if num_tasks == 2:
        first = np.linspace(0, 1, 101)
        return np.stack([first, 1 - first], axis=1)
    return simplex(num_tasks)


def _reached(models: Candidates, weights: np.ndarray) -> np.ndarray:
    chosen = (models.validation @ weights.T).argmin(0)
    return (models.test[chosen] * weights).sum(1)
