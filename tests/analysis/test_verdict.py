"""Leads, their spreads and the verdict: known cases, and how often it errs on made-up studies."""

from collections import Counter

import numpy as np
import pytest

from mtk.analysis import Candidates, equal_budget, judge, lead
from mtk.analysis.leading import scale_of
from mtk.analysis.spread import over_grids, over_seeds
from tests.quick import some

WEIGHTS = np.linspace(0.1, 0.9, 9)


def models(test, validation=None, seeds=1, groups=None):
    test = np.asarray(test, float)
    number = len(test)
    return Candidates(
        test if validation is None else np.asarray(validation, float),
        test,
        np.full(number, seeds),
        np.arange(number) if groups is None else np.asarray(groups),
        np.arange(number),
    )


FRONT = models([[0, 10], [2, 6], [5, 3], [10, 0]])
ONES = np.ones(2)


@pytest.mark.parametrize(
    ("point", "amount", "dominates", "extends"),
    [
        ([3, 7], -1, 0, 0),  # (2, 6) is better by 1 in both.
        ([2, 6], 0, 0, 0),  # Equal to a model of the front.
        ([4, 4], 1, 0, 0),  # Between two models: until (5, 3) is as good, it takes 1.
        ([1, 5], 1, 1, 0),  # Dominates (2, 6), which is as good after 1 more.
        ([-1, 11], -np.inf, 0, 1),  # A more extreme trade-off.
        ([-1, -1], 6, 1, 0),  # Dominates all; the nearest is (5, 3).
        ([-1, 9], 1, 1, 0),  # Better in the first task than all, and dominates (0, 10).
    ],
)
def test_leads_worked_out_by_hand(point, amount, dominates, extends):
    found = lead(models([point]), FRONT, ONES)
    assert (found.amount, found.dominates, found.extends) == (amount, dominates, extends)
    assert found.model == (-1 if np.isinf(amount) else 0)


def test_lead_equals_the_definition_by_bisection():
    generator = np.random.default_rng(0)
    for num_tasks in (1, 2, 3, 4):
        for _ in range(30):
            front = models(generator.uniform(size=(8, num_tasks)))
            point = generator.uniform(0.2, 1, num_tasks)
            found = lead(models([point]), front, np.ones(num_tasks)).amount
            if np.isinf(found):
                continue
            low, high = -2.0, 2.0
            for _ in range(50):
                middle = (low + high) / 2
                covered = (front.test[front.selected] <= point + middle).all(1).any()
                low, high = (low, middle) if covered else (middle, high)
            assert found == pytest.approx(high, abs=1e-9)


def test_validation_selects_and_test_only_measures():
    generator = np.random.default_rng(1)
    validation = generator.uniform(size=(30, 2))
    plain = models(generator.uniform(size=(30, 2)), validation)
    poisoned = plain.test.copy()
    unselected = np.setdiff1d(np.arange(30), plain.selected)
    poisoned[unselected] = -100.0  # As good as one wishes, and never seen.
    changed = models(poisoned, validation)
    assert changed.selected.tolist() == plain.selected.tolist()
    assert lead(changed, FRONT, ONES) == lead(plain, FRONT, ONES)
    assert lead(FRONT, changed, ONES) == lead(FRONT, plain, ONES)


def test_leads_do_not_depend_on_the_unit_of_a_task():
    generator = np.random.default_rng(2)
    front, own = (models(generator.uniform(size=(12, 2))) for _ in range(2))
    plain = lead(own, front, scale_of(front)).amount
    units = np.array([1000.0, 0.01])
    other = models(front.test * units)
    assert lead(models(own.test * units), other, scale_of(other)).amount == pytest.approx(plain)


def test_interval_over_seeds_of_one_model_each_is_that_of_a_difference_of_means():
    generator = np.random.default_rng(3)
    noise = generator.normal(0, 0.2, (400, 2))
    own, static = models([[1.0]], seeds=4), models([[2.0]], seeds=2)
    low, high = over_seeds(own, static, np.ones(1), noise, 0.95, draws=4000)
    deviation = noise[:, 1].std() * np.sqrt(1 / 4 + 1 / 2)
    assert low == pytest.approx(1 - 1.96 * deviation, abs=0.03)
    assert high == pytest.approx(1 + 1.96 * deviation, abs=0.03)


def test_each_static_weighting_is_held_out_once():
    # The outermost two only extend what remains; (2, 6) and (5, 3) have gaps to their neighbours.
    leads = over_grids(FRONT, ONES, size=1)
    by_hand = [min(5 - 2, 10 - 6), min(10 - 5, 6 - 3)]  # (5, 3) and (2, 6) are nearest.
    assert sorted(leads) == sorted(by_hand)


def test_equal_budgets_are_fair_to_equals_and_show_a_better_method():
    generator = np.random.default_rng(4)
    static = models(generator.uniform(1, 2, (40, 2)))
    same, better = models(static.test[:7]), models(static.test[:7] - 0.5)
    assert equal_budget(same, static).size == 7
    assert equal_budget(static, static).share == 0.5
    assert equal_budget(better, static).share > 0.99


def study(generator, noise, gain, seeds=3):
    """Static weights and a method at three learning rates; without gain the method is one more."""

    def runs(weights, gain):
        base = np.stack([1 + (1 - weights) ** 2, 1 + weights**2], axis=1)
        means = (base[:, None] + np.array([0, 0.05, 0.15])[:, None] - gain).reshape(-1, 2)
        validation = means[:, None] + generator.normal(0, noise, (len(means), seeds, 2))
        test = validation + generator.normal(0, noise / 2, validation.shape)
        both = np.concatenate([validation, test], axis=2)
        residuals = (both - both.mean(1, keepdims=True)) * np.sqrt(seeds / (seeds - 1))
        groups = np.repeat(np.arange(len(weights)), 3)
        return models(test.mean(1), validation.mean(1), seeds, groups), residuals.reshape(-1, 4)

    static, first = runs(WEIGHTS, 0.0)
    method, second = runs(generator.uniform(0.15, 0.85, 1), gain)
    return method, static, np.concatenate([first, second])


def conclusions(noise, gain, number=40):
    generator = np.random.default_rng(0)
    return Counter(
        judge(*study(generator, noise, gain), draws=200).conclusion for _ in range(number)
    )


@pytest.mark.parametrize("noise", some([0.003, 0.03, 0.1], [0.03]))
def test_a_method_that_is_one_more_weighting_is_not_called_beyond(noise):
    assert conclusions(noise, gain=0.0)["beyond"] <= 2  # Of 40: 5 %.


@pytest.mark.parametrize("noise", some([0.003, 0.03], [0.03]))
def test_a_method_with_a_real_gain_is_called_beyond(noise):
    assert conclusions(noise, gain=0.2)["beyond"] >= 38


def test_without_repeated_seeds_nothing_is_concluded():
    method, static, _ = study(np.random.default_rng(0), 0.01, 0.3)
    for noise in (np.empty((0, 4)), np.zeros((4, 4))):
        found = judge(method, static, noise)
        assert found.conclusion == "beyond, but nothing can be concluded"
        assert "Too few seeds were repeated" in found.words


def test_a_front_of_few_weightings_has_no_spread_to_compare_with():
    method, static, noise = study(np.random.default_rng(0), 0.01, 0.3)
    found = judge(method, static[static.groups % 4 == 0], noise, draws=100)
    assert found.exceeds_grids is None
    assert found.conclusion == "beyond, but nothing can be concluded"


@pytest.mark.parametrize(
    ("method", "static", "expected"),
    [
        (models(np.empty((0, 2))), FRONT, "no run to judge"),
        (FRONT, models(np.empty((0, 2))), "no static weights to compare with"),
        (models([[-1, 11]]), FRONT, "extends the front only"),
        (models([[9, 9]]), FRONT, "not beyond"),
    ],
)
def test_what_cannot_lead_is_said(method, static, expected):
    found = judge(method, static, np.empty((0, 4)))
    assert found.conclusion == expected
    assert found.words


def test_many_methods_widen_the_interval():
    method, static, noise = study(np.random.default_rng(0), 0.03, 0.2)
    one, twenty = (judge(method, static, noise, comparisons=n) for n in (1, 20))
    assert twenty.over_seeds[0] < one.over_seeds[0] < one.over_seeds[1] < twenty.over_seeds[1]
