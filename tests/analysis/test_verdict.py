"""The four answers of a verdict, and what must not change them."""

import numpy as np
import pytest

from mtk.analysis import Models, asked, judge
from mtk.analysis.comparison import _percent, words
from mtk.analysis.paired_margins import FRONT, MEAN, UTILITY, WORST_TASK

WEIGHTS = np.linspace(0.1, 0.9, 9)
BOTH = np.stack([WEIGHTS, 1 - WEIGHTS], axis=1)


def front(weights):
    """A convex front of width one in both tasks."""
    weights = np.asarray(weights, float)
    losses = np.stack([(1 - weights) ** 2, weights**2], axis=-1)
    return losses / np.ptp(np.stack([(1 - WEIGHTS) ** 2, WEIGHTS**2], -1), axis=0)


def study(gains, noise=0.01, seeds=5, draw=0, own=0.45):
    """Nine static models, and one method with a single model for each gain."""
    generator = np.random.default_rng(draw)

    def at_seeds(means):
        return means[:, None] + generator.normal(0, noise, (len(means), seeds, 2))

    static = Models(at_seeds(front(WEIGHTS)), BOTH)
    methods = {
        f"m{n}": Models(at_seeds(front([own]) - gain))
        for n, gain in enumerate(np.atleast_1d(gains))
    }
    return static, methods


@pytest.mark.parametrize(
    ("gain", "noise", "answer"),
    [
        (0.3, 0.01, "better"),
        (0.0, 0.01, "equivalent"),
        (0.02, 0.01, "equivalent"),
        (-0.3, 0.01, "worse"),
        (0.05, 0.08, "undecided"),
    ],
)
@pytest.mark.parametrize("question", [FRONT, MEAN])
def test_answers(gain, noise, answer, question):
    static, methods = study(gain, noise, own=0.5, draw=1)
    found = judge(static, methods, question)["m0"]
    assert found.answer == answer
    assert found.low < gain < found.high
    assert words(found).startswith(answer.capitalize())


def study_of(num_tasks, draw):
    """Static models with random weights, and two methods, with seed noise."""
    generator = np.random.default_rng(draw)
    weights = generator.dirichlet(np.full(num_tasks, 2.0), 7)

    def at_seeds(weights, gain):
        noise = generator.normal(0, 0.02, (len(weights), 4, num_tasks))
        return (1 - weights[:, None]) ** 2 - gain + noise

    methods = {
        f"m{n}": at_seeds(generator.dirichlet(np.full(num_tasks, 2.0), 2), gain)
        for n, gain in enumerate((0.05, 0.0))
    }
    return at_seeds(weights, 0.0), weights, methods


def judged(static, weights, methods, question):
    return judge(
        Models(static, weights), {name: Models(own) for name, own in methods.items()}, question
    )


def assert_equal_verdicts(found, expected, tolerance=1e-5):
    for name, verdict in expected.items():
        assert (found[name].answer, found[name].seeds) == (verdict.answer, verdict.seeds)
        for value in ("margin", "low", "high", "held_out"):
            told, known = getattr(found[name], value), getattr(verdict, value)
            close = pytest.approx(known, rel=tolerance, abs=tolerance, nan_ok=True)
            assert told == close, value


QUESTIONS = [(num_tasks, question) for num_tasks in range(1, 6) for question in asked(num_tasks)]


@pytest.mark.parametrize(("num_tasks", "question"), QUESTIONS)
def test_every_question_is_invariant_to_common_seed_effects(num_tasks, question):
    for draw in range(5):
        static, weights, methods = study_of(num_tasks, draw)
        shift = np.random.default_rng(draw).normal(0, 3.0, (1, 4, num_tasks))
        moved = {name: own + shift for name, own in methods.items()}
        assert_equal_verdicts(
            judged(static + shift, weights, moved, question),
            judged(static, weights, methods, question),
            tolerance=1e-7,
        )


@pytest.mark.parametrize(("num_tasks", "question"), QUESTIONS)
def test_verdict_is_invariant_to_large_offsets(num_tasks, question):
    for draw in range(5):
        static, weights, methods = study_of(num_tasks, draw)
        far = {name: own + 1e7 for name, own in methods.items()}
        assert_equal_verdicts(
            judged(static + 1e7, weights, far, question),
            judged(static, weights, methods, question),
        )


# The expected utility averages over fixed preferences, which depend on the order of tasks.
@pytest.mark.parametrize(("num_tasks", "question"), [q for q in QUESTIONS if q[1] != UTILITY])
def test_verdict_is_invariant_to_the_order_of_tasks(num_tasks, question):
    order = np.roll(np.arange(num_tasks), 1)
    for draw in range(5):
        static, weights, methods = study_of(num_tasks, draw)
        turned = {name: own[..., order] for name, own in methods.items()}
        assert_equal_verdicts(
            judged(static[..., order], weights[:, order], turned, question),
            judged(static, weights, methods, question),
        )


@pytest.mark.parametrize("question", [FRONT, MEAN])
def test_verdict_is_robust_to_rounding_of_equal_means(question):
    """Means of integer counts are exact; equal means of fractions differ by rounding."""
    for draw in range(60):
        generator = np.random.default_rng(draw)
        number, seeds = generator.integers(2, 6), int(generator.choice([2, 3, 5]))
        first = np.linspace(0.2, 0.8, number)
        weights = np.stack([first, 1 - first], axis=1)
        means = 6 + 4 * (1 - weights[:, None]) ** 2
        static = np.round(means + generator.normal(0, 1, (number, seeds, 2)))
        methods = {"m": np.round(7 + generator.normal(0, 1, (2, seeds, 2)))}
        shares = {name: own / 20 for name, own in methods.items()}
        assert_equal_verdicts(
            judged(static / 20, weights, shares, question),
            judged(static, weights, methods, question),
        )


def test_verdict_is_invariant_to_units_of_tasks():
    static, methods = study([0.1, 0.0], noise=0.02)
    units = np.array([1000.0, 1e-3])
    other = judge(
        Models(static.values * units, BOTH),
        {name: Models(own.values * units) for name, own in methods.items()},
        FRONT,
    )
    for name, verdict in judge(static, methods, FRONT).items():
        assert other[name].answer == verdict.answer
        assert other[name].low == pytest.approx(verdict.low)


def test_coverage_of_intervals():
    """About 95 % of the intervals of a method as good as static weights contain zero."""
    held = [
        verdict.low <= 0 <= verdict.high
        for draw in range(25)
        for verdict in judge(*study([0.0], 0.03, draw=draw), FRONT).values()
    ]
    assert np.mean(held) >= 0.84


def test_more_methods_and_questions_widen_the_interval():
    static, methods = study([0.1])
    one = judge(static, methods, FRONT)["m0"]
    eight = judge(static, methods, FRONT, questions=8)["m0"]
    assert eight.low < one.low < one.high < eight.high
    assert eight.level == pytest.approx(1 - 0.05 / 8)
    more = judge(static, methods | {f"x{n}": methods["m0"] for n in range(7)}, FRONT)["m0"]
    assert more.level == pytest.approx(eight.level)


def test_noisy_method_does_not_widen_intervals_of_others():
    static, methods = study([0.2] * 6)
    calm = judge(static, methods, FRONT)["m1"]
    wild = methods["m0"].values
    wild = wild.mean(1, keepdims=True) + 40 * (wild - wild.mean(1, keepdims=True))
    found = judge(static, {**methods, "m0": Models(wild)}, FRONT)
    assert found["m0"].answer == "undecided"
    assert found["m1"].high - found["m1"].low < 1.5 * (calm.high - calm.low)


def test_suggested_number_of_seeds_decides():
    static, methods = study(-0.04, noise=0.06, draw=1)
    found = judge(static, methods, FRONT)["m0"]
    assert found.answer == "undecided"
    assert found.further_seeds

    def spread(models, number):
        """The same means and the same variance over more seeds."""
        mean = models.values.mean(1, keepdims=True)
        away = np.tile(models.values - mean, (1, number // 5, 1))
        return Models(mean + away * np.sqrt(4 / 5 * number / (number - 1)), models.weights)

    number = 5 * int(np.ceil((5 + found.further_seeds) / 5)) + 5
    decided = judge(
        spread(static, number), {name: spread(own, number) for name, own in methods.items()}, FRONT
    )
    assert decided["m0"].answer != "undecided"


def test_one_seed_has_no_interval():
    static, methods = study([0.5], seeds=1)
    found = judge(static, methods, FRONT)["m0"]
    assert (found.answer, found.further_seeds) == ("undecided", None)
    assert np.isnan([found.low, found.high]).all()
    assert "a single seed" in words(found)


def test_single_static_weighting_is_undecided():
    static, methods = study([0.5])
    alone = Models(static.values[4:5], BOTH[4:5])
    assert judge(alone, methods, FRONT)["m0"].answer == "undecided"
    assert judge(alone, methods, MEAN)["m0"].answer == "undecided"


def test_gap_in_the_grid_is_not_better():
    """Of four weightings, a held-out one lies as far beyond the front as a method between them."""
    few = np.array([0.05, 0.2, 0.8, 0.95])
    _static, methods = study([0.0], own=0.5)
    generator = np.random.default_rng(0)
    values = front(few)[:, None] + generator.normal(0, 0.003, (4, 5, 2))
    found = judge(Models(values), methods, FRONT)["m0"]
    assert found.low > 0
    assert found.answer != "better"
    assert judge(Models(values, np.stack([few, 1 - few], 1)), methods, FRONT)["m0"].margin < 0.05


@pytest.mark.parametrize("seeds", [2, 5])
def test_gap_with_few_seeds_suggests_weightings_and_seeds(seeds):
    few = np.array([0.05, 0.2, 0.8, 0.95])
    generator = np.random.default_rng(0)
    values = front([*few, 0.5])[:, None] + generator.normal(0, 0.003, (5, seeds, 2))
    said = judge(Models(values[:4]), {"m": Models(values[4:])}, FRONT)["m"]
    assert "add weightings in between" in said.reason
    assert ("2 are few" in said.reason) == (seeds == 2)


def test_more_extreme_weighting_is_not_better_or_worse():
    static, methods = study([0.0], own=0.02, noise=0.002)
    for weights in (BOTH, None):
        found = judge(Models(static.values, weights), methods, FRONT)["m0"]
        assert found.extrapolated
        assert found.answer in ("undecided", "equivalent")
    assert (
        "add more extreme weightings" in judge(Models(static.values), methods, FRONT)["m0"].reason
    )


def test_best_of_many_models_is_corrected_for_selection():
    generator = np.random.default_rng(0)
    better = 0
    for draw in range(12):
        static, _ = study([0.0], 0.05, draw=draw)
        values = front([0.5] * 5)[:, None] + generator.normal(0, 0.05, (5, 5, 2))
        better += judge(static, {"m": Models(values)}, FRONT)["m"].answer == "better"
    assert better <= 1


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 9, 40])
def test_any_number_of_tasks(num_tasks):
    generator = np.random.default_rng(num_tasks)
    center = generator.normal(size=(6, 1, num_tasks))
    static = Models(center + generator.normal(0, 0.01, (6, 4, num_tasks)))
    methods = {"m": Models(static.values[:2] - 5.0)}
    for question in asked(num_tasks):
        found = judge(static, methods, question, len(asked(num_tasks)))["m"]
        assert found.margin > 0
        assert found.low <= found.margin <= found.high or np.isinf(found.low)


def test_questions_by_number_of_tasks():
    assert asked(3) == [FRONT, MEAN]
    assert asked(4) == asked(40) == [MEAN, WORST_TASK, UTILITY]


@pytest.mark.parametrize("gain", [0.0, 5.0])
def test_tasks_without_conflict(gain):
    """Then a method is better if it is better in every task."""
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.1, (10, 5, 2))
    for weights in (BOTH, None):
        static = Models(noise[:9] * [[[1, 0.5]]], weights)
        found = judge(static, {"m": Models(noise[9:] - gain)}, FRONT)["m"]
        assert found.answer == ("better" if gain else "undecided")


def test_means_use_the_given_units():
    static, methods = study([0.1], noise=1e-6)
    scale = np.array([10.0, 1.0])
    wide = Models(static.values * scale)
    own = {"m0": Models(methods["m0"].values * scale)}
    raw = judge(wide, own, MEAN, units=np.ones(2))["m0"].margin
    best = wide.values.mean((1, 2)).min() - own["m0"].values.mean()
    assert raw == pytest.approx(best / 5.5, rel=0.01)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.0, "+0.0 %"),
        (-2e-4, "+0.0 %"),
        (-0.0634, "-6.3 %"),
        (9.99, "+999.0 %"),
        (-188.0, "beyond -1000 %"),
    ],
)
def test_percentages_beyond_ten_widths_are_clipped(share, said):
    assert _percent(share) == said


def test_constant_metric_is_the_reason_for_undecided():
    """For example an AUC, which is zero if the test split has no positive example."""
    static, methods = study(0.0)
    flat = np.array([1.0, 0.0])
    methods = {name: Models(own.values * flat) for name, own in methods.items()}
    (said,) = judge(Models(static.values * flat, BOTH), methods, FRONT).values()
    assert said.answer == "undecided"
    assert "the same in all runs" in said.reason


@pytest.mark.parametrize("question", [FRONT, MEAN])
def test_single_static_weighting_has_no_width(question):
    """A default width of one would make all losses of 1e-3 equivalent."""
    static, methods = study([0.3, -0.3], noise=0.01)
    alone = Models(1e-3 * static.values[4:5], BOTH[4:5])
    small = {name: Models(1e-3 * own.values) for name, own in methods.items()}
    for said in judge(alone, small, question, units=np.ones(2)).values():
        assert said.answer == "undecided"
        assert np.isnan([said.margin, said.low, said.high]).all()
        assert words(said) == f"Undecided: {said.reason}."
        assert "one static weighting is not enough" in said.reason


@pytest.mark.parametrize("question", [FRONT, MEAN])
def test_seeds_that_change_nothing_give_no_interval(question):
    """For example, if a workload ignores its seed."""
    static, own = (
        np.repeat(np.array(values)[:, None], 4, axis=1)
        for values in ([[0.0, 1.0], [1.0, 0.0]], [[0.4, 0.4]])
    )
    (found,) = judged(static, None, {"m": own}, question).values()
    assert (found.answer, found.seeds) == ("undecided", 4)
    assert "nothing varies between seeds" in found.reason
