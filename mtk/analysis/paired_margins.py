"""Margins of methods over static weights, and the effects of seeds and gaps in the grid on them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from mtk.analysis.fronts import simplex
from mtk.analysis.margins import Margins, front_of, margins, widths
from mtk.analysis.measure import Models

FRONT, MEAN, WORST_TASK, UTILITY = "front", "mean over tasks", "worst task", "expected utility"
# With at least this many tasks, hardly any model dominates another.
_MANY_TASKS = 4
# Number of preferences over tasks that the expected utility averages.
_USERS = 512
# A method whose variance exceeds that of the others at this level is not pooled with them.
_NOISIER = 0.99
# If the methods' pooled variance exceeds that of all models at this level, methods use their own.
_NOISIER_METHODS = 0.9
# Fields of `Margins` with an error of their own.
KINDS = ("amount", "corner", "smooth")
# Step of the numerical derivative: the additional weight of one seed in the mean.
_STEP = 0.05
# Decimals to which means are rounded, in widths of the front.
_DECIMALS = 10
_TINY = 1e-30
# With fewer held-out static weightings per task but one, the gaps are hardly known.
_FEWEST = 5


def asked(num_tasks: int) -> list[str]:
    """Returns the questions that are asked for a number of tasks."""
    if num_tasks == 1:
        return [MEAN]
    return [FRONT, MEAN] if num_tasks < _MANY_TASKS else [MEAN, WORST_TASK, UTILITY]


class Error(NamedTuple):
    """The error of N margins due to seeds and test examples; one row for each of `KINDS`.

    Attributes:
        deviation: `(3, N)`, standard deviation over seeds, for one seed.
        freedom: `(3, N)`, its degrees of freedom.
        lasting: `(3, N)`, variance of the margin due to the test examples, which further seeds do
            not reduce; zero if the examples are not known.
        lasting_freedom: `(3, N)`, its degrees of freedom.
    """

    deviation: np.ndarray
    freedom: np.ndarray
    lasting: np.ndarray
    lasting_freedom: np.ndarray

    def at(self, seeds: np.ndarray, measured: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns standard errors `(3, N, S)` for numbers of seeds, and their degrees of freedom.

        Args:
            seeds: `(S,)`, numbers of seeds.
            measured: The number of seeds that were measured.

        Reference:
            Satterthwaite, *An approximate distribution of estimates of variance components* (1946).
        """
        of_seeds = self.deviation[..., None] ** 2 / seeds
        freedom = self.freedom[..., None] * (seeds - 1) / (measured - 1)
        lasting = self.lasting[..., None]
        squares = of_seeds**2 / freedom + lasting**2 / self.lasting_freedom[..., None]
        total = of_seeds + lasting
        return np.sqrt(total), total**2 / np.maximum(squares, _TINY**2)


class HeldOut(NamedTuple):
    """Largest margin of a static weighting over the others, inside the front and anywhere."""

    inside: float
    anywhere: float


class PairedMargins:
    """Margins of means over seeds, in widths of the front.

    Args:
        static: The static models, one for each weighting; at least two, which differ in each task.
        methods: Each method's models, at the same seeds.
        question: One of those that `asked` returns.
        units: `(K,)`, units of the tasks for the mean; by default the widths of the front.
    """

    def __init__(
        self,
        static: Models,
        methods: Mapping[str, Models],
        question: str,
        units: np.ndarray | None,
    ):
        scale = widths(static.values.mean(1))
        # Only differences matter, and small differences of large numbers are lost in products.
        center = static.values.mean((0, 1))
        self.static = (static.values - center) / scale
        self.methods = [(models.values - center) / scale for models in methods.values()]
        known = [models.examples for models in (static, *methods.values())]
        self.examples = [(each - center) / scale for each in known if each is not None]
        if len(self.examples) < len(known):
            self.examples = []
        self.weights = static.weights
        self.num_seeds = static.values.shape[1]
        shares = np.ones(len(scale)) if units is None else scale / units
        self.shares = shares / shares.sum()
        self.question = question

    def margins(self, seed: int | None = None) -> list[Margins]:
        """Returns the margins of each method, then of each static model over the other ones.

        Args:
            seed: A seed to weigh slightly more in the means, if any.
        """
        moved = None if seed is None else [each[:, seed] for each in (self.static, *self.methods)]
        static, methods = self._means(moved)
        found = self._of_methods(static, methods)
        for number in range(len(static)):
            rest = np.arange(len(static)) != number
            found.append(self._against(static, rest)(static[~rest]))
        return found

    def _of_methods(self, static: np.ndarray, methods: Sequence[np.ndarray]) -> list[Margins]:
        return list(map(self._against(static, np.ones(len(static), bool)), methods))

    def _against(self, static: np.ndarray, rest: np.ndarray) -> Callable[[np.ndarray], Margins]:
        """Returns a function from models `(N, K)` to their margins over some static ones."""
        if self.question == FRONT:
            weights = None if self.weights is None else self.weights[rest]
            return functools.partial(margins, front=front_of(static[rest], weights))
        # The best of these means, so that the common effect of a seed on all models cancels.
        best = static.min(0)
        reached: Callable[[np.ndarray], np.ndarray] = {
            MEAN: lambda own: own @ self.shares,
            WORST_TASK: lambda own: (own - best).max(1),
            UTILITY: _expected,
        }[self.question]
        return functools.partial(_of_numbers, reached(static[rest]).min(), reached)

    def _means(self, moved: Sequence[np.ndarray] | None) -> tuple[np.ndarray, list[np.ndarray]]:
        """Returns the means over seeds, moved a small step towards other values if given.

        Rounded, since models that differ only by rounding must not dominate one another.
        """
        means = [values.mean(1) for values in (self.static, *self.methods)]
        if moved is not None:
            means = [m + _STEP * (to - m) for m, to in zip(means, moved, strict=True)]
        static, *methods = (each.round(_DECIMALS) for each in means)
        return static, methods

    def errors(self, found: list[Margins]) -> list[Error | None]:
        """Returns the errors of `margins`, pooled over methods and static models."""
        if self.num_seeds < 2:
            return [None] * len(found)
        moved = np.stack([_flat(self.margins(seed)) for seed in range(self.num_seeds)])
        variances = ((moved - _flat(found)) / _STEP).var(0, ddof=1)
        inside = np.concatenate([own.inside for own in found])
        usual, freedom = pooled(variances, self.num_seeds - 1, inside)
        number = sum(len(own.amount) for own in found[: len(self.methods)])
        own, own_freedom = pooled(variances[:, :number], self.num_seeds - 1, inside[:number])
        # All methods may be noisier than static weights, which outnumber them.
        most = usual[:, :number] * stats.f.ppf(_NOISIER_METHODS, own_freedom, freedom[:, :number])
        noisier = own > most
        usual[:, :number] = np.where(noisier, own, usual[:, :number])
        freedom[:, :number] = np.where(noisier, own_freedom, freedom[:, :number])
        # Held-out static models get the median over the methods.
        more = ((0, 0), (0, usual.shape[1] - number))
        kept = [np.pad(own, more, mode="median") for own in self._lasting(found)]
        parts = [np.sqrt(usual), freedom, *kept]
        ends = np.cumsum([len(own.amount) for own in found])[:-1]
        return [Error(*own) for own in zip(*(np.split(x, ends, 1) for x in parts), strict=True)]

    def _lasting(self, found: list[Margins]) -> tuple[np.ndarray, np.ndarray]:
        """Returns `lasting`, `(3, N)` each, for the margins of methods."""
        of_methods = found[: len(self.methods)]
        flat = _flat(of_methods)
        if not self.examples:
            return np.zeros_like(flat), np.ones_like(flat)
        seeds, groups = self.examples[0].shape[1:3]
        cells = np.stack(
            [_flat(self._at_cell(s, g)) for s in range(seeds) for g in range(groups)], axis=-1
        ).reshape(*flat.shape, seeds, groups)
        cells = (cells - flat[..., None, None]) / _STEP
        return lasting(cells, np.concatenate([own.inside for own in of_methods]))

    def _at_cell(self, seed: int, group: int) -> list[Margins]:
        """Returns the methods' margins if one group of examples weighs more at one seed."""
        static, methods = self._means([each[:, seed, group] for each in self.examples])
        return self._of_methods(static, methods)


def _of_numbers(
    best: float, reached: Callable[[np.ndarray], np.ndarray], own: np.ndarray
) -> Margins:
    amount = best - reached(own)
    return Margins(amount, np.ones(len(amount), bool), amount, amount, amount)


def _expected(models: np.ndarray) -> np.ndarray:
    """R2 with weighted sums: each user chooses the model that is best for their preference."""
    users = simplex(models.shape[1])[:_USERS]
    return (models @ users.T).min(0).mean(keepdims=True)


def _flat(found: list[Margins]) -> np.ndarray:
    """Returns `(3, N)`, the fields of the margins in the order of `KINDS`."""
    return np.stack([np.concatenate([getattr(m, name) for m in found]) for name in KINDS])


def lasting(cells: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the variance `(R, N)` due to examples at any number of seeds; degrees of freedom.

    Seeds and groups of examples are crossed, so the variance of a statistic is the seed component
    over S, plus the group component over G, plus the residual over SG. The first and the last are
    part of the variance of the means over seeds; the second is `(MS of groups - MS of the rest) /
    SG`, from the mean squares of the two-way table.

    Args:
        cells: `(R, N, S, G)`, the influence of each group of examples at each seed.
        inside: `(N,)`, as in `pooled`.

    Reference:
        Searle, Casella & McCulloch, *Variance Components* (1992), section 4.7.
    """
    seeds, groups = cells.shape[-2:]
    by_group = cells.mean(-2, keepdims=True)
    rest = cells - by_group - cells.mean(-1, keepdims=True) + cells.mean((-2, -1), keepdims=True)
    squares = seeds * by_group[..., 0, :].var(-1, ddof=1)
    squares_of_rest = (rest**2).sum((-2, -1)) / ((groups - 1) * (seeds - 1))
    of_group, freedom = pooled(squares, groups - 1, inside)
    of_rest, freedom_of_rest = pooled(squares_of_rest, (groups - 1) * (seeds - 1), inside)
    difference = np.maximum(of_group - of_rest, 0.0)
    spread = of_group**2 / freedom + of_rest**2 / freedom_of_rest
    freed = np.maximum(difference**2 / np.maximum(spread, _TINY), 1.0)
    return difference / (seeds * groups), freed


def pooled(
    variances: np.ndarray, freedom: int, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns variances `(R, N)`, pooled unless they are too large, and their degrees of freedom.

    Args:
        variances: `(R, N)`, such as those of amounts and of corners.
        freedom: Degrees of freedom of each.
        inside: `(N,)`, which ones are pooled; if none are marked, all.
    """
    usual = variances[:, inside] if inside.any() else variances
    # The median is robust to the large variances that are to be found.
    typical = np.median(usual, axis=1, keepdims=True) * freedom / stats.chi2.median(freedom)
    most = typical * stats.f.ppf(_NOISIER, freedom, freedom * max(usual.shape[1] - 1, 1))
    counted = usual <= most
    number = np.maximum(counted.sum(1, keepdims=True), 1)
    mean = np.where(counted, usual, 0.0).sum(1, keepdims=True) / number
    noisier = variances > most
    own = np.maximum(variances, mean)
    return np.where(noisier, own, mean), np.where(noisier, freedom, freedom * number)


def held_out(
    held: list[Margins], errors: Sequence[Error | None], shape: tuple[int, ...], delta: float
) -> HeldOut:
    """Returns the largest margins, shrunk by the share of their squares that is noise.

    The largest of few margins says little: then the result is at least twice delta.

    Args:
        held: Margins of static models over the other ones.
        errors: Errors of these margins; None after a single seed.
        shape: Shape of the static models' values: models, seeds, tasks.
        delta: Largest margin that is negligible.
    """
    _, num_seeds, num_tasks = shape
    amounts = np.concatenate([own.amount for own in held])
    inside = np.concatenate([own.inside for own in held])
    chosen = inside if inside.any() else ~inside
    real = 1.0
    if errors[0] is not None:
        known = [error for error in errors if error is not None]
        noise = np.array([e.deviation[0, 0] ** 2 / num_seeds + e.lasting[0, 0] for e in known])
        square = np.mean(amounts[chosen] ** 2)
        real = max(0.0, 1 - np.median(noise[chosen]) / max(square, _TINY))
    least = 0.0 if chosen.sum() >= _FEWEST * (num_tasks - 1) else 2 * delta
    return HeldOut(*(max(least, real * float(some.max())) for some in (amounts[chosen], amounts)))
