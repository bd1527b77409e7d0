"""What a study says of each method: better, equivalent, worse, or undecided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from mtk.analysis.indicators import simplex
from mtk.analysis.margins import Margins, front_of, margins, widths

BETTER, EQUIVALENT, WORSE, UNDECIDED = "better", "equivalent", "worse", "undecided"
FRONT, MEAN, WORST_TASK, UTILITY = "front", "mean over tasks", "worst task", "expected utility"
# From so many tasks on hardly any model dominates another.
MANY_TASKS = 4
# Further seeds than these are no advice.
_MOST_SEEDS = 1000
# A method whose variance exceeds the others' at this level keeps its own.
_NOISIER = 0.99
# Step of the numerical derivative: the weight that one seed gains in the mean.
_STEP = 0.05
_TINY = 1e-30
# Fewer static weightings between the outermost ones than these tell little of the gaps.
_FEWEST = 5


@dataclass(frozen=True)
class Models:
    """Models that were measured at the same seeds.

    Attributes:
        values: `(N, S, K)` for N models, S seeds and K tasks; less is better.
        weights: `(N, K)`, all positive, if these are static models and they are known.
    """

    values: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Verdict:
    """What is known about one method against static weights.

    Attributes:
        answer: `"better"`, `"equivalent"`, `"worse"` or `"undecided"`.
        margin: By how much its best model lies beyond what static weights reach, in widths of the
            front; negative behind it.
        low: Lower end of the interval of the margin.
        high: Upper end; both NaN if there is no interval.
        level: Confidence of the interval, all comparisons counted (Bonferroni).
        delta: Margins within ±delta are as good as none.
        held_out: The largest margin of a static weighting over the other ones, less what noise
            explains: a better method lies beyond it. Zero if none is beyond.
        extrapolated: Whether the model lies beyond the ends of the front.
        seeds: How many seeds were compared.
        further_seeds: How many more would decide, if the margin stays; None if none would.
        model: Position of the model that has the margin.
        reason: Why it is undecided, or what the reader must know.
    """

    answer: str
    margin: float
    low: float
    high: float
    level: float
    delta: float
    held_out: float
    extrapolated: bool
    seeds: int
    further_seeds: int | None
    model: int
    reason: str


def asked(num_tasks: int) -> list[str]:
    """Returns the questions that are asked of so many tasks."""
    if num_tasks == 1:
        return [MEAN]
    return [FRONT, MEAN] if num_tasks < MANY_TASKS else [MEAN, WORST_TASK, UTILITY]


def judge(
    static: Models,
    methods: Mapping[str, Models],
    question: str,
    questions: int = 1,
    units: np.ndarray | None = None,
    delta: float = 0.05,
    level: float = 0.95,
) -> dict[str, Verdict]:
    """Compares methods with static weights, paired by seed.

    The margin is that of the means over seeds. Its variance is that of the influence of each seed
    on it, in which whatever the seed does to all models alike cancels; it is pooled over all models
    but those that are noisier. The interval is Student's, its error is divided by the number of
    methods and questions (Bonferroni), and below by that of a method's models too, since the best
    of them counts.

    Args:
        static: The static models, one for each weighting.
        methods: Each method's models, at the same seeds.
        question: One of those that `asked` names.
        questions: How many are asked in all.
        units: `(K,)`, in which tasks are added up for the mean; by default each one's width.
        delta: What is too little to matter, in widths of the front.
        level: Confidence of all intervals together.

    Returns:
        The verdicts by method.

    Reference:
        Efron, *The Jackknife, the Bootstrap and Other Resampling Plans* (1982), chapter 6.
        Lakens, *Equivalence tests* (2017), for the answer "equivalent".
    """
    comparison = _Comparison(static, methods, question, units)
    alpha = (1 - level) / max(1, len(methods) * questions)
    rule = _Rule(alpha, delta, comparison.num_seeds)
    found = comparison.margins()
    errors = comparison.errors(found)
    after = len(methods)
    held = _held_out(found[after:], errors[after:], comparison.num_seeds, delta)
    return {
        name: rule.verdict(own, error, held)
        for name, own, error in zip(methods, found, errors, strict=False)
    }


class _Error(NamedTuple):
    """What one seed does to margins: standard deviation `(2, N)` of amounts and corners."""

    deviation: np.ndarray
    freedom: np.ndarray


class _HeldOut(NamedTuple):
    """The largest margin of a static weighting over the others; NaN without one to hold out."""

    inside: float
    anywhere: float


class _Comparison:
    """Margins over the means of seeds, in widths of the front."""

    def __init__(
        self,
        static: Models,
        methods: Mapping[str, Models],
        question: str,
        units: np.ndarray | None,
    ):
        scale = widths(static.values.mean(1))
        self.static = static.values / scale
        self.methods = [models.values / scale for models in methods.values()]
        self.weights = static.weights
        self.num_seeds = static.values.shape[1]
        shares = np.ones(len(scale)) if units is None else scale / units
        best = self.static.mean(1).min(0)
        self._margins: _Question = {
            FRONT: _of_front,
            MEAN: lambda *sets: _of_values(shares / shares.sum(), *sets),
            WORST_TASK: lambda *sets: _of_worst(best, *sets),
            UTILITY: _of_utility,
        }[question]

    def margins(self, seed: int | None = None) -> list[Margins]:
        """Returns the margins of each method, then of each static model over the other ones.

        Args:
            seed: Which one counts a little more in the means, if any.
        """
        static = _mean(self.static, seed)
        found = self._margins(static, [_mean(own, seed) for own in self.methods], self.weights)
        for number in range(len(static) if len(static) > 1 else 0):
            rest = np.arange(len(static)) != number
            weights = None if self.weights is None else self.weights[rest]
            found += self._margins(static[rest], [static[~rest]], weights)
        return found

    def errors(self, found: list[Margins]) -> list[_Error | None]:
        """Returns what a seed does to each of `margins`; pooled over methods and static models."""
        if self.num_seeds < 2:
            return [None] * len(found)
        moved = np.stack([_flat(self.margins(seed)) for seed in range(self.num_seeds)])
        variances = ((moved - _flat(found)) / _STEP).var(0, ddof=1)
        inside = np.concatenate([own.inside for own in found])
        pooled, freedom = _pooled(variances, self.num_seeds - 1, inside)
        ends = np.cumsum([len(own.amount) for own in found])[:-1]
        parts = zip(np.split(pooled, ends, 1), np.split(freedom, ends, 1), strict=True)
        return [_Error(np.sqrt(variance), own) for variance, own in parts]


_Question = Callable[[np.ndarray, list[np.ndarray], np.ndarray | None], list[Margins]]


def _of_front(
    static: np.ndarray, methods: list[np.ndarray], weights: np.ndarray | None
) -> list[Margins]:
    front = front_of(static, weights)
    return [margins(own, front) for own in methods]


def _of_values(
    shares: np.ndarray, static: np.ndarray, methods: list[np.ndarray], _: np.ndarray | None
) -> list[Margins]:
    best = (static @ shares).min()
    return [_plain(best - own @ shares) for own in methods]


def _of_worst(
    best: np.ndarray, static: np.ndarray, methods: list[np.ndarray], _: np.ndarray | None
) -> list[Margins]:
    reached = (static - best).max(1).min()
    return [_plain(reached - (own - best).max(1)) for own in methods]


def _of_utility(
    static: np.ndarray, methods: list[np.ndarray], _: np.ndarray | None
) -> list[Margins]:
    """R2 with weighted sums: of the models, each user takes the one that is best for him."""
    users = simplex(static.shape[1])[:512]
    reached = (static @ users.T).min(0).mean()
    return [_plain(np.array([reached - (own @ users.T).min(0).mean()])) for own in methods]


def _plain(amount: np.ndarray) -> Margins:
    everywhere = np.ones(len(amount), bool)
    return Margins(amount, everywhere, everywhere, amount)


def _mean(values: np.ndarray, seed: int | None) -> np.ndarray:
    means = values.mean(1)
    return means if seed is None else means + _STEP * (values[:, seed] - means)


def _flat(found: list[Margins]) -> np.ndarray:
    return np.stack([np.concatenate([getattr(m, name) for m in found]) for name in _KINDS])


_KINDS = ("amount", "corner")


def _pooled(
    variances: np.ndarray, freedom: int, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(2, N)` variances and their degrees of freedom: the mean, where it will do.

    Args:
        variances: `(2, N)`, of amounts and of corners.
        freedom: Degrees of freedom of each.
        inside: `(N,)`, which ones make the mean; where there are none, all.
    """
    usual = variances[:, inside] if inside.any() else variances
    # The median is not moved by those that are to be found.
    typical = np.median(usual, axis=1, keepdims=True) * freedom / stats.chi2.median(freedom)
    most = typical * stats.f.ppf(_NOISIER, freedom, freedom * max(usual.shape[1] - 1, 1))
    counted = usual <= most
    number = np.maximum(counted.sum(1, keepdims=True), 1)
    mean = np.where(counted, usual, 0.0).sum(1, keepdims=True) / number
    noisier = variances > most
    own = np.maximum(variances, mean)
    return np.where(noisier, own, mean), np.where(noisier, freedom, freedom * number)


def _held_out(
    held: list[Margins], errors: Sequence[_Error | None], num_seeds: int, delta: float
) -> _HeldOut:
    """Returns the largest margins, shrunk by the share of their squares that is noise.

    Of fewer than five, the largest says little: then it is not less than delta.
    """
    if not held:
        return _HeldOut(np.nan, np.nan)
    amounts = np.concatenate([own.amount for own in held])
    inside = np.concatenate([own.inside for own in held])
    chosen = inside if inside.any() else ~inside
    real = 1.0
    if errors[0] is not None:
        noise = np.array([error.deviation[0, 0] for error in errors if error is not None])
        square = np.mean(amounts[chosen] ** 2)
        real = max(0.0, 1 - np.median(noise[chosen] ** 2) / num_seeds / max(square, _TINY))
    least = 0.0 if chosen.sum() >= _FEWEST else delta
    return _HeldOut(*(max(least, real * float(some.max())) for some in (amounts[chosen], amounts)))


@dataclass(frozen=True)
class _Rule:
    """How margins become an answer.

    Attributes:
        alpha: Error of one interval, both sides together.
        delta: Margins that are as good as none.
        num_seeds: How many seeds the means are taken over.
    """

    alpha: float
    delta: float
    num_seeds: int

    def verdict(self, own: Margins, error: _Error | None, held: _HeldOut) -> Verdict:
        """Returns the verdict on one method.

        Args:
            own: The margins of its models.
            error: Of them; None after a single seed.
            held: The margins of static weightings.
        """
        seeds = np.arange(self.num_seeds, _MOST_SEEDS + 1)
        if error is None:
            low = high = np.full((len(own.amount), 1), np.nan)
            best = int(own.amount.argmax())
        else:
            low, high = self._bounds(own, error, seeds)
            best = int(np.lexsort((own.amount, low[:, 0]))[-1])
        outside = not own.inside[best]
        bar = held.anywhere if outside else held.inside
        lows, highs = low.max(0), high.max(0)
        answers = self._answers(lows, highs, bar)
        decided = np.flatnonzero(answers != UNDECIDED)
        return Verdict(
            answer=str(answers[0]),
            margin=float(own.amount[best]),
            low=float(lows[0]),
            high=float(highs[0]),
            level=1 - self.alpha,
            delta=self.delta,
            held_out=bar,
            extrapolated=outside,
            seeds=self.num_seeds,
            further_seeds=int(decided[0]) if len(decided) else None,
            model=best,
            reason=self._reason(answers, outside, bar, float(own.amount[best])),
        )

    def _bounds(
        self, own: Margins, error: _Error, seeds: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ends of the interval `(N, len(seeds))` after so many seeds."""
        number = len(own.amount)
        freedom = error.freedom[..., None] * (seeds - 1) / (self.num_seeds - 1)
        errors = error.deviation[..., None] / np.sqrt(seeds)
        low = own.amount[:, None] - stats.t.isf(self.alpha / 2 / number, freedom[0]) * errors[0]
        low[~own.met] = -np.inf
        # Beyond the ends, a front that is continued is too good: only measured models are better.
        kind = np.where(own.inside, 0, 1), np.arange(number)
        top = np.where(own.inside, own.amount, own.corner)[:, None]
        high = top + stats.t.isf(self.alpha / 2, freedom[kind]) * errors[kind]
        return low, high

    def _answers(self, low: np.ndarray, high: np.ndarray, bar: float) -> np.ndarray:
        """Returns an answer for each pair of ends."""
        equivalent = (low >= -self.delta) & (high <= self.delta)
        # NaN, where no static weighting can be held out, is never exceeded.
        choices = [equivalent, low > bar, high < 0]
        return np.select(choices, [EQUIVALENT, BETTER, WORSE], UNDECIDED)

    def _reason(self, answers: np.ndarray, outside: bool, bar: float, margin: float) -> str:
        if self.num_seeds < 2:
            return "one seed alone has no interval: measure two or more"
        if np.isnan(bar):
            return "too few static weightings to hold one out: add some"
        if (answers != UNDECIDED).any():
            return "beyond the outermost static weighting, by extrapolation" if outside else ""
        if outside:
            return "beyond the outermost static weighting: add more extreme ones"
        if self.delta < margin <= bar:
            return "a static weighting that is held out leads as far: add some between"
        return "too near to a limit for any number of seeds"
