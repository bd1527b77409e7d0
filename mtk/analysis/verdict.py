"""Verdict on each method of a study: better, equivalent, worse, or undecided."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mtk.analysis.margins import Margins, has_width
from mtk.analysis.measure import Models
from mtk.analysis.paired_margins import KINDS, Error, HeldOut, PairedMargins, held_out

BETTER, EQUIVALENT, WORSE, UNDECIDED = "better", "equivalent", "worse", "undecided"
# Largest negligible margin, in widths of the front.
DELTA = 0.05
# A larger number of further seeds is not suggested.
_MOST_SEEDS = 1000
# With fewer seeds, their standard deviation is hardly known.
_FEW_SEEDS = 5


@dataclass(frozen=True)
class Verdict:
    """The result of comparing one method with static weights.

    Attributes:
        answer: `"better"`, `"equivalent"`, `"worse"` or `"undecided"`.
        margin: Distance of its best model beyond the front of static weights, in widths of the
            front; negative behind it, NaN if the front has no width.
        low: Lower end of the interval of the margin.
        high: Upper end; both NaN if there is no interval.
        level: Confidence level of the interval, corrected for all comparisons (Bonferroni).
        delta: Margins within ±delta count as equivalent.
        held_out: The threshold for a better method: the largest margin of a static weighting over
            the other ones, minus the part due to noise; at least twice delta if few can be held
            out.
        extrapolated: Whether the model lies beyond the ends of the front.
        seeds: Number of seeds that were compared.
        further_seeds: How many more would decide if the margin stays the same; None if none would.
        model: Position of the model with the margin.
        reason: Why it is undecided, or a note for the reader.
        examples: Whether the interval covers the finite test set, or only the seeds.
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

    The margin is that of the means over seeds. Its variance is that of each seed's influence on it,
    in which effects common to all models cancel; it is pooled over all models except noisier ones.
    If values over groups of test examples are known, the variance due to these examples, which is
    common to all seeds, is added. The interval is based on Student's t distribution; its error is
    divided by the number of methods and questions (Bonferroni), and, for the lower end, also by
    the number of the method's models, since the best of them counts.

    Args:
        static: The static models, one for each weighting.
        methods: Each method's models, at the same seeds.
        question: One of those that `asked` returns.
        questions: Number of questions; larger if this one has a smaller share of the error.
        units: `(K,)`, units of the tasks for the mean; by default the widths of the front.
        delta: Largest negligible margin, in widths of the front.
        level: Joint confidence level of all intervals.

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
    """Returns the verdict for a front without width, where margins have no unit."""
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
    """Returns the verdict on one method from the margins of its models.

    `error` is None after a single seed; `alpha` is the two-sided error of one interval.
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
    # An answer for each number of seeds.
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
    """Returns the ends of the interval `(N, S)` for numbers of seeds `(S,)`, the measured first."""
    number = len(own.amount)
    errors, freedom = error.at(seeds, int(seeds[0]))
    low = own.least[:, None] - stats.t.isf(alpha / 2 / number, freedom[0]) * errors[0]
    # Beyond its ends, the extrapolated front is too good, so only measured models are used there.
    kind = np.where(own.inside, KINDS.index("smooth"), KINDS.index("corner")), np.arange(number)
    top = np.where(own.inside, own.smooth, own.corner)[:, None]
    return low, top + stats.t.isf(alpha / 2, freedom[kind]) * errors[kind]
