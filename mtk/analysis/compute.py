"""What a method costs, and what the same cost would have bought with static weights."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from mtk.analysis.candidate import Candidates

_RATE = "steps_per_second"
_ORDERS = 500


def with_cost(table: pd.DataFrame, costs: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Adds `cost`: steps, times what a step costs in steps of static weights.

    Args:
        table: With `steps_per_second`, or else with all `costs` given.
        costs: Relative cost of a step by method, in place of the measured one.

    Returns:
        The table; `cost` is NaN where nothing is known.
    """
    rates = table.get(_RATE, pd.Series(np.nan, table.index))
    static = rates[table["role"] == "baseline"].groupby(table["study"]).median()
    own = rates.groupby([table["study"], table["method"]]).transform("median")
    measured = table["study"].map(static) / own
    given = table["method"].map(dict(costs or {}))
    return table.assign(cost=table["steps"] * given.fillna(measured))


class SearchCurve(NamedTuple):
    """What a random search over a method's configurations reaches for its cost.

    Attributes:
        cost: `(N,)`, of 1 to N configurations.
        mean: `(N,)`, test of the model that validation selects so far, averaged over orders.
        low: `(N,)`, the 10 % quantile over orders.
        high: `(N,)`, the 90 % quantile.
    """

    cost: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def search_curve(models: Candidates, cost: float) -> SearchCurve:
    """Returns what a search reaches that tries the configurations in random order.

    At equal cost the curves of two methods are fairly compared: the dearer one has tried fewer.

    Args:
        models: Configurations with one value each, such as `Candidates.average` makes them.
        cost: Of one configuration.
    """
    generator = np.random.default_rng(0)
    orders = np.argsort(generator.random((_ORDERS, len(models))), axis=1)
    validation, test = models.validation[:, 0][orders], models.test[:, 0][orders]
    newest = validation <= np.minimum.accumulate(validation, axis=1)
    last = np.maximum.accumulate(np.where(newest, np.arange(len(models)), 0), axis=1)
    reached = np.take_along_axis(test, last, axis=1)
    low, high = np.quantile(reached, [0.1, 0.9], axis=0)
    return SearchCurve(cost * np.arange(1, len(models) + 1), reached.mean(0), low, high)
