"""What a study says of each method: better, equivalent, worse, or undecided."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mtk.analysis.margins import Margins, has_width
from mtk.analysis.measure import Models
from mtk.analysis.paired_margins import KINDS, Error, HeldOut, PairedMargins, held_out

BETTER, EQUIVALENT, WORSE, UNDECIDED = "better", "equivalent", "worse", "undecided"
# What is too little to matter, in widths of the front.
DELTA = 0.05
# Further seeds than these are no advice.
_MOST_SEEDS = 1000
# With fewer, a deviation over seeds is hardly known.
_FEW_SEEDS = 5


@dataclass(frozen=True)
class Verdict:
    """What is known about one method against static weights.

    Attributes:
        answer: `"better"`, `"equivalent"`, `"worse"` or `"undecided"`.
        margin: By how much its best model lies beyond what static weights reach, in widths of the
            front; negative behind it, NaN if the front has no width.
        low: Lower end of the interval of the margin.
        high: Upper end; both NaN if there is no interval.
        level: Confidence of the interval, all comparisons counted (Bonferroni).
        delta: Margins within ±delta count as equivalent.
        held_out: The bar that a better method exceeds: the largest margin of a static weighting
            over the other ones, less what noise explains; at least twice delta if few can be held
            out.
        extrapolated: Whether the model lies beyond the ends of the front.
        seeds: How many seeds were compared.
        further_seeds: How many more decide, if the margin stays; None if no number of them does.
        model: Position of the model that has the margin.
        reason: Why it is undecided, or what the reader must know.
        examples: Whether the interval counts that the test set is finite, or the seeds alone.
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
    examples: bool = False


def judge(
    static: Models,
    methods: Mapping[str, Models],
    question: str,
    questions: float = 1,
    units: np.ndarray | None = None,
    delta: float = DELTA,
    level: float = 0.95,
) -> dict[str, Verdict]:
    """Compares methods with static weights, paired by seed.

    The margin is that of the means over seeds. Its variance is that of the influence of each seed
    on it, in which whatever the seed does to all models alike cancels; it is pooled over all models
    but those that are noisier. Where the models tell their values over groups of test examples, the
    variance that these have in common at all seeds is added. The interval is Student's, its error
    is divided by the number of
    methods and questions (Bonferroni), and below by that of a method's models too, since the best
    of them counts.

    Args:
        static: The static models, one for each weighting.
        methods: Each method's models, at the same seeds.
        question: One of those that `asked` names.
        questions: How many are asked in all; more where this one has a smaller share of the error.
        units: `(K,)`, in which tasks are added up for the mean; by default each one's width.
        delta: What is too little to matter, in widths of the front.
        level: Confidence of all intervals together.

    Returns:
        The verdicts by method.

    Reference:
        Efron, *The Jackknife, the Bootstrap and Other Resampling Plans* (1982), chapter 6.
        Lakens, *Equivalence tests* (2017), for the answer "equivalent".
    """
    alpha = (1 - level) / max(1, len(methods) * questions)
    if not has_width(static.values.mean(1)).all():
        return dict.fromkeys(methods, _without_width(static, alpha, delta))
    paired = PairedMargins(static, methods, question, units)
    found = paired.margins()
    errors = paired.errors(found)
    after = len(methods)
    held = held_out(found[after:], errors[after:], static.values.shape, delta)
    return {
        name: _verdict(paired, own, error, held, alpha, delta)
        for name, own, error in zip(methods, found, errors, strict=False)
    }


def _without_width(static: Models, alpha: float, delta: float) -> Verdict:
    """Returns the verdict where margins have no unit, so that nothing is near or far."""
    reason = "one static weighting is not enough for a front: add more static weightings"
    if len(static.values) > 1:
        reason = (
            "all static models have the same value in some task (for example because a metric "
            "is the same in all runs), so their front has no width to measure margins by"
        )
    nan, seeds = float("nan"), static.values.shape[1]
    return Verdict(UNDECIDED, nan, nan, nan, 1 - alpha, delta, nan, False, seeds, None, 0, reason)


def _verdict(
    paired: PairedMargins, own: Margins, error: Error | None, held: HeldOut, alpha: float,
    delta: float,
) -> Verdict:  # fmt: skip
    """Returns the verdict on one method by the margins of its own models.

    `error` is None after a single seed; `alpha` that of one interval, both sides together.
    """
    if error is None:
        low = high = np.full((len(own.amount), 1), np.nan)
        best = int(own.amount.argmax())
    else:
        seeds = np.arange(paired.num_seeds, _MOST_SEEDS + 1)
        low, high = _bounds(own, error, seeds, alpha)
        best = int(np.lexsort((own.amount, low[:, 0]))[-1])
    margin, outside = float(own.amount[best]), not own.inside[best]
    bar = held.anywhere if outside else held.inside
    lows, highs = low.max(0), high.max(0)
    # An answer for each number of seeds. NaN, where no static weighting can be held out, is never
    # exceeded.
    choices = [(lows >= -delta) & (highs <= delta), lows > bar, highs < 0]
    answers = np.select(choices, [EQUIVALENT, BETTER, WORSE], UNDECIDED)
    decided = np.flatnonzero(answers != UNDECIDED)
    reason = "the margin is too close to a decision limit for any number of seeds to decide"
    if paired.num_seeds < 2:
        reason = "a single seed gives no interval: measure two or more"
    elif np.isnan(lows[0]):
        reason = (
            "nothing varies between seeds, for example because a metric is the same in all runs"
        )
    elif np.isnan(bar):
        reason = "too few static weightings to hold one out: add more"
    elif len(decided):
        reason = (
            ("the model lies beyond the outermost static weighting, so its margin is extrapolated")
            if outside
            else ""
        )
    elif outside:
        reason = "the model lies beyond the outermost static weighting: add more extreme weightings"
    elif delta < margin <= bar:
        reason = (
            "gaps between static weightings could explain the margin: add weightings in between"
        )
        if paired.num_seeds < _FEW_SEEDS:  # They blur the gaps as well.
            reason += f", and seeds: {paired.num_seeds} are few"
    elif paired.examples:
        reason += " on these test examples"
    return Verdict(
        answer=str(answers[0]),
        margin=margin,
        low=float(lows[0]),
        high=float(highs[0]),
        level=1 - alpha,
        delta=delta,
        held_out=bar,
        extrapolated=outside,
        seeds=paired.num_seeds,
        further_seeds=int(decided[0]) if len(decided) else None,
        model=best,
        reason=reason,
        examples=bool(paired.examples) and error is not None,
    )


def _bounds(
    own: Margins, error: Error, seeds: np.ndarray, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the interval `(N, S)` after so many seeds `(S,)`, the measured first."""
    number = len(own.amount)
    errors, freedom = error.at(seeds, int(seeds[0]))
    low = own.least[:, None] - stats.t.isf(alpha / 2 / number, freedom[0]) * errors[0]
    # Beyond the ends, a front that is continued is too good: only measured models are better.
    kind = np.where(own.inside, KINDS.index("smooth"), KINDS.index("corner")), np.arange(number)
    top = np.where(own.inside, own.smooth, own.corner)[:, None]
    return low, top + stats.t.isf(alpha / 2, freedom[kind]) * errors[kind]
