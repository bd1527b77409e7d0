"""Ranks the entries of a benchmark by hypervolume, with ties if differences are not significant."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mtk.analysis import hypervolume, non_dominated
from mtk.analysis.fronts import simplex
from mtk.analysis.margins import has_width, widths
from mtk.analysis.measure import Models
from mtk.analysis.paired_margins import Error, lasting, pooled
from mtk.bench.card import MOST_TASKS

# Step of the numerical derivative: the added weight of one seed in the mean.
_STEP = 0.05
_TINY = 1e-9
# Number of preferences over tasks in the mean of the expected utility.
_USERS = 512
# Threshold for better entries, in deltas: chosen on simulated rounds (tools/bench_power.py) that
# are not counted in its table.
_BAR = 0.5
# Distance of the corner of the volume behind entry 0's front, in widths.
_BEHIND = 0.1
# Function from the means `(N, K)` of an entry's models to a number; higher is better.
_Value = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Standing:
    """The standing of an entry.

    Attributes:
        place: One plus the number of entries that are significantly better.
        ties: Entries that are neither significantly better nor significantly worse.
        value: Hypervolume of its models, as a share of the box between the best values of entry 0
            and a corner a tenth of the front's width behind it.
        gain: Its difference to entry 0.
        low: Lower end of the interval of the gain.
        high: Its upper end.
        noise: Standard error of the gain.
        utility: Reduction of the mean user's loss relative to entry 0, in widths of its front: R2
            with weighted sums over all preferences.
        utility_noise: Its standard error.
    """

    place: int
    ties: tuple[str, ...]
    value: float
    gain: float
    low: float
    high: float
    noise: float
    utility: float
    utility_noise: float


def rank(entries: Mapping[str, Models], delta: float, level: float = 0.95) -> dict[str, Standing]:
    """Compares entries, paired by seeds and test examples.

    The intervals of all differences are Student's, over seeds, with a variance that is pooled over
    all pairs except noisier ones; if the models have values for groups of test examples, the
    variance due to these at all seeds is added. One entry is better than another if the interval
    lies above the gain of a front that is better by half of `delta` in every task: smaller
    differences may result from where a search happened to place its models. With many tasks, hardly
    any model dominates another, so from six on the expected utility replaces the hypervolume.

    Args:
        entries: The models of each, entry 0 first: tuned static weights, whose front is the unit.
        delta: Differences that are too small to matter, in widths of entry 0's front.
        level: Joint confidence level of all comparisons of an entry.

    Returns:
        Standings by name.
    """
    first, scale = _unit(entries)
    value, of_users = _value(first, scale), _utility(scale)
    bar = value(first - _BAR * delta * scale) - value(first)
    alpha = (1 - level) / max(1, len(entries) - 1)
    ranked, users = (_Compared(entries, each, alpha) for each in (value, of_users))
    names = list(entries)
    found = {}
    for place, name in enumerate(names):
        others = [n for n in range(len(names)) if n != place]
        above = [n for n in others if ranked.interval(n, place)[0] > bar]
        below = [n for n in others if ranked.interval(place, n)[0] > bar]
        low, high = ranked.interval(place, 0)
        found[name] = Standing(
            place=1 + len(above),
            ties=tuple(names[n] for n in others if n not in above and n not in below),
            value=float(ranked.values[place]),
            gain=float(ranked.values[place] - ranked.values[0]),
            low=low,
            high=high,
            noise=ranked.noise(place, 0),
            utility=float(users.values[place] - users.values[0]),
            utility_noise=users.noise(place, 0),
        )
    return found


def difference(entries: Mapping[str, Models], one: str, other: str) -> tuple[float, float]:
    """Returns the gain of one entry over another, and its standard error.

    Args:
        entries: See `rank`.
        one: Name of an entry.
        other: Name of another one.
    """
    compared = _Compared(entries, _value(*_unit(entries)), 1.0)
    numbers = [list(entries).index(name) for name in (one, other)]
    return float(np.subtract(*compared.values[numbers])), compared.noise(*numbers)


def _unit(entries: Mapping[str, Models]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means `(N, K)` of entry 0's models, and the widths `(K,)` of their front.

    If they do not spread, as with a single model, their own size is the unit.
    """
    first = next(iter(entries.values())).values.mean(1)
    size = np.maximum(np.abs(first).max(0), _TINY)
    return first, np.where(has_width(first), widths(first), size)


def _value(first: np.ndarray, scale: np.ndarray) -> _Value:
    return _volume(first, scale) if len(scale) <= MOST_TASKS else _utility(scale)


def _volume(first: np.ndarray, scale: np.ndarray) -> _Value:
    front = first[non_dominated(first)]
    corner = front.max(0) / scale + _BEHIND
    box = float(np.prod(corner - front.min(0) / scale))
    return lambda means: hypervolume(means / scale, corner) / box


def _utility(scale: np.ndarray) -> _Value:
    users = simplex(len(scale))[:_USERS]
    return lambda means: -float(((means / scale) @ users.T).min(0).mean())


class _Compared:
    """The value of every entry, and the effect of seeds and examples on each difference."""

    def __init__(self, entries: Mapping[str, Models], value: _Value, alpha: float):
        models = list(entries.values())
        self.values = np.array([value(each.values.mean(1)) for each in models])
        self.num_seeds = models[0].values.shape[1]
        self.alpha = alpha
        self._pairs = list(itertools.combinations(range(len(models)), 2))
        if self.num_seeds > 1 and self._pairs:
            self._error = self._errors(models, value)

    def interval(self, one: int, other: int) -> tuple[float, float]:
        """Returns the ends of the interval of a difference."""
        difference = float(self.values[one] - self.values[other])
        if one == other:
            return difference, difference
        error, freedom = self._at(one, other)
        # Without noise, there are no degrees of freedom either.
        half = float(stats.t.isf(self.alpha / 2, freedom)) * error if error else 0.0
        return difference - half, difference + half

    def noise(self, one: int, other: int) -> float:
        """Returns the standard error of a difference."""
        return 0.0 if one == other else self._at(one, other)[0]

    def _at(self, one: int, other: int) -> tuple[float, float]:
        if self.num_seeds < 2:
            return np.inf, 1.0
        pair = self._pairs.index((min(one, other), max(one, other)))
        errors, freedom = self._error.at(np.array([self.num_seeds]), self.num_seeds)
        return float(errors[0, pair, 0]), float(freedom[0, pair, 0])

    def _errors(self, models: list[Models], value: _Value) -> Error:
        """Returns the error of each pair's difference: the entries' influences are subtracted."""
        of_seeds = np.array([self._influence(m, m.values, value) for m in models])
        of_pairs = np.array([of_seeds[i] - of_seeds[j] for i, j in self._pairs])
        every = np.ones(len(self._pairs), bool)
        variances, freedom = pooled(of_pairs.var(-1, ddof=1)[None], self.num_seeds - 1, every)
        extra, freed = np.zeros_like(variances), np.ones_like(variances)
        if all(each.examples is not None for each in models):
            cells = np.array([self._cells(each, value) for each in models])
            extra, freed = lasting(
                np.array([cells[i] - cells[j] for i, j in self._pairs])[None], every
            )
        return Error(np.sqrt(variances), freedom, extra, freed)

    def _cells(self, models: Models, value: _Value) -> np.ndarray:
        """Returns `(S, G)`: the influence of each group of examples at each seed."""
        assert models.examples is not None
        seeds, groups = models.examples.shape[1:3]
        flat = models.examples.reshape(len(models.values), seeds * groups, -1)
        return self._influence(models, flat, value).reshape(seeds, groups)

    def _influence(self, models: Models, cells: np.ndarray, value: _Value) -> np.ndarray:
        """Returns the change of the value of the means as the weight of each cell increases."""
        means = models.values.mean(1)
        here = value(means)
        moved = [means + _STEP * (cells[:, c] - means) for c in range(cells.shape[1])]
        return np.array([(value(each) - here) / _STEP for each in moved])
