"""Indicators that compare fronts and searches with those of static weights."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import moocore
import numpy as np
import pandas as pd

from mtk.analysis.fronts import checked, simplex
from mtk.analysis.margins import widths
from mtk.analysis.metric_sets import Objective, points, tasks
from mtk.analysis.select import Candidates
from mtk.analysis.weights import static_weights

_DRAWS = 1000
_ROUNDING = 1e-9
# The time for an exact hypervolume grows exponentially with the number of tasks.
MOST_TASKS = 5


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns the exact hypervolume between the points and a reference point.

    Args:
        points: `(N, K)`; lower is better. Points beyond the reference add nothing.
        reference: `(K,)`, the worst point that counts.

    Raises:
        ValueError: If the points are invalid, or the reference is not a finite point `(K,)`.

    Example:
    >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
    3.0
    """
    points = checked(points)
    reference = np.asarray(reference, float)
    if reference.shape != points.shape[1:] or not np.isfinite(reference).all():
        raise ValueError(
            f"The reference point must have a finite value for each of the {points.shape[1]} "
            f"objectives. Received: {reference}"
        )
    return float(moocore.hypervolume(points, ref=reference))


def additive_epsilon(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns what must be subtracted from all values of `points` to cover the reference set.

    Args:
        points: `(N, K)`; lower is better.
        reference: `(M, K)`, another set.

    Returns:
        The smallest e such that each reference point is weakly dominated by a point minus e; zero
        or less if `points` already cover the reference set.

    Reference:
        Zitzler et al., *Performance assessment of multiobjective optimizers* (2003), equation 11.
    """
    points, reference = _two_sets(points, reference)
    return float(moocore.epsilon_additive(points, ref=reference))


def multiplicative_epsilon(points: np.ndarray, reference: np.ndarray) -> float:
    """Returns the factor by which `points` must be divided to cover the reference set.

    Args:
        points: `(N, K)`, all positive; lower is better.
        reference: `(M, K)`, another set, all positive.

    Returns:
        The factor; one or less if `points` already cover the reference set.

    Raises:
        ValueError: If a value is not positive, since a factor is then meaningless.

    Reference:
        Zitzler et al., *Performance assessment of multiobjective optimizers* (2003), equation 10.
    """
    points, reference = _two_sets(points, reference)
    if (points <= 0).any() or (reference <= 0).any():
        raise ValueError(
            "The multiplicative epsilon indicator needs positive values. Use the additive one."
        )
    return float(moocore.epsilon_mult(points, ref=reference))


def r2(points: np.ndarray, ideal: np.ndarray) -> float:
    """Returns the mean, over weights, of the best weighted Chebyshev distance to an ideal point.

    Args:
        points: `(N, K)`; lower is better.
        ideal: `(K,)`, not worse than any point.

    Raises:
        ValueError: If there is no point, or one is better than the ideal point in some objective.

    Reference:
        Hansen & Jaszkiewicz, *Evaluating the quality of approximations to the non-dominated set*
        (1998). The mean over 2,048 quasi-random weights is within 1 % of the integral.
    """
    points, ideal = _two_sets(points, np.asarray(ideal, float)[None])
    distance = points - ideal
    if not np.isfinite(distance).all() or (distance < 0).any():
        raise ValueError(
            "The ideal point and the points must be finite, and the ideal point must not be "
            f"worse than any point in any objective. Received: {ideal[0]}; the best values of the "
            f"points: {points.min(0)}"
        )
    weights = simplex(points.shape[1])
    return float((weights[:, None, :] * distance[None, :, :]).max(2).min(1).mean())


def _two_sets(points: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, reference = checked(points), checked(reference)
    if not len(points) or not len(reference) or points.shape[1] != reference.shape[1]:
        raise ValueError(
            "Expected two non-empty sets of points with the same number of objectives. "
            f"Received shapes: {points.shape} and {reference.shape}"
        )
    return points, reference


class EqualBudget(NamedTuple):
    """Test hypervolumes of models selected on validation, in units of the static front's width.

    Attributes:
        size: Number of configurations on each side.
        method: Mean over the method's sub-grids of that size.
        static: Mean over the static weights' sub-grids of that size.
        share: Share of the pairs of sub-grids in which the method's is larger; ties count half.
    """

    size: int
    method: float
    static: float
    share: float


def equal_budget(method: Candidates, static: Candidates) -> EqualBudget:
    """Compares sub-grids of equal size.

    A method with 3 configurations has a ninth of the chances of static weights with 27; here both
    sides have the smaller number. All sub-grids are used, or 1,000 random ones if there are more;
    the standard error of the share is then at most 0.02.

    Args:
        method: The method's configurations.
        static: The static weightings.
    """
    size = min(len(method), len(static))
    scale, corner = scale_and_reference(static.front)
    own, other = (
        np.array([hypervolume_of(m[drawn], corner, scale) for drawn in _sub_grids(len(m), size)])
        for m in (method, static)
    )
    wins = (own[:, None] > other).mean() + 0.5 * (own[:, None] == other).mean()
    return EqualBudget(size, float(own.mean()), float(other.mean()), float(wins))


def _sub_grids(number: int, size: int) -> list[np.ndarray]:
    """Returns the positions of all sub-grids of a size, or of random ones if there are many."""
    if math.comb(number, size) <= _DRAWS:
        return [np.array(each) for each in itertools.combinations(range(number), size)]
    generator = np.random.default_rng(0)
    return [generator.permutation(number)[:size] for _ in range(_DRAWS)]


def scale_and_reference(front: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a front's width `(K,)`, and the reference point a tenth of it behind the front."""
    scale = widths(front)
    return scale, front.max(0) + 0.1 * scale


def hypervolume_of(models: Candidates, corner: np.ndarray, scale: np.ndarray) -> float:
    """Returns the test hypervolume of the models that validation selects."""
    return hypervolume(models.front / scale, corner / scale)


def search_curve(models: Candidates, cost: float) -> pd.DataFrame:
    """Returns the results of a search that tries the configurations in random order.

    Curves of two methods are fairly compared at equal cost: the costlier one has tried fewer.

    Args:
        models: Configurations with one value each, such as those of `Candidates.average`.
        cost: Cost of one configuration.

    Returns:
        A row for each number of configurations, from 1 to N: their `cost`, and the test value of
        the best on validation so far: `mean`, `low` and `high` (10 % and 90 %) over all orders.
    """
    test = models.test[:, 0]
    chances = _chances(models.validation[:, 0])
    order = np.argsort(test)
    below = np.cumsum(chances[:, order], axis=1)
    low, high = (test[order][(below >= q - _ROUNDING).argmax(1)] for q in (0.1, 0.9))
    costs = cost * np.arange(1, len(models) + 1)
    return pd.DataFrame({"cost": costs, "mean": chances @ test, "low": low, "high": high})


def _chances(validation: np.ndarray) -> np.ndarray:
    """Returns `(N, N)`, the probability that a model is the best of the first n in random order.

    Args:
        validation: `(N,)`, lower is better; tied models are equally likely to be chosen.
    """
    number = len(validation)
    tried = np.arange(1, number + 1)[:, None]
    places = np.arange(number)
    # Probability that none of n tried models is among the best m: `C(N - m, n) / C(N, n)`.
    none = np.cumprod(np.maximum(number - tried - places, 0) / (number - places), axis=1)
    none = np.hstack([np.ones((number, 1)), none])
    _, group, size = np.unique(validation, return_inverse=True, return_counts=True)
    ends = np.cumsum([0, *size])
    return np.asarray(((none[:, ends[:-1]] - none[:, ends[1:]]) / size)[:, group])


def utilities(methods: Mapping[str, Candidates], scale: np.ndarray) -> pd.DataFrame:
    """Returns each method's result for each weighting of the tasks in the evaluation.

    For each weighting, validation selects each method's configuration, and the result is its
    weighted mean on test.

    Args:
        methods: Configurations by method.
        scale: `(K,)`, the unit of each task; ones for raw values.

    Returns:
        One column per method and one row per weighting; lower is better. For two tasks, 101
        weightings in order, indexed by the first task's weight; for more, 2,048 weightings spread
        evenly over the simplex.
    """
    weights = interests(len(scale))
    table = pd.DataFrame(
        {name: _reached(models, weights / scale) for name, models in methods.items() if len(models)}
    )
    return table.set_axis(pd.Index(weights[:, 0], name="weight of the first task"))


def ranks(found: pd.DataFrame) -> pd.DataFrame:
    """Returns the rank of each method for each weighting; 1 is best, ties get the mean rank."""
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


def delta_m(found: pd.DataFrame, objectives: Sequence[Objective]) -> pd.Series:
    """Returns how much worse each configuration is than single-task models, in percent.

    This is the mean over tasks of the relative difference on test to the single-task model selected
    on validation: negative if the multi-task model is better, NaN if the value of a single-task
    model is zero.

    Args:
        found: The result of `configurations`, with rows of the role "single" for every task: runs
            that train only one task, or give all weight to it.
        objectives: The objectives to compare.

    Raises:
        ValueError: If a task has no single-task run.

    Reference:
        Maninis et al., *Attentive single-tasking of multiple tasks* (2019), section 5.1; with the
        opposite sign, so that lower is better, as in later papers.
    """
    reference = np.array([_reference(found, objective) for objective in objectives])
    unit = np.where(reference == 0, np.nan, np.abs(reference))
    worse = (points(found, objectives, "test") - reference) / unit
    return pd.Series(100 * worse.mean(1), found.index, name="delta_m").where(found["comparable"])


def alone(found: pd.DataFrame, task: str) -> pd.DataFrame:
    """Returns the configurations of a table that train one task only, or give all weight to it."""
    single = found[found["role"] == "single"]
    return single[np.array([_trains(row, task) for row in single.to_dict("records")], bool)]


def best_alone(found: pd.DataFrame, objective: Objective) -> pd.Series | None:
    """Returns a task's best single-task model on validation; None if there is none."""
    own = alone(found, objective.task)
    own = own[own["comparable"]]
    validation = points(own, [objective], "validation")[:, 0]
    return own.iloc[np.nanargmin(validation)] if np.isfinite(validation).any() else None


def _reference(found: pd.DataFrame, objective: Objective) -> float:
    """Returns the test value of a task's best single-task model on validation."""
    chosen = best_alone(found, objective)
    if chosen is None:
        raise ValueError(
            f"Task {objective.task!r} has no single-task run. Add one to the study: static "
            "weights that are zero for all other tasks."
        )
    return float(points(chosen.to_frame().T, [objective], "test")[0, 0])


def _trains(row: dict[Any, Any], task: str) -> bool:
    weights = static_weights(row)
    if weights is None:
        return tasks(pd.DataFrame([row])) == [task]
    return weights.get(task) == 1.0
