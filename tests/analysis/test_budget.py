"""Fronts at equal budgets."""

import numpy as np

from mtk.analysis import equal_budget
from tests.analysis.pools import models


def test_equal_budgets_are_fair_to_equals_and_show_a_better_method():
    generator = np.random.default_rng(4)
    static = models(generator.uniform(1, 2, (40, 2)))
    same, better = models(static.test[:7]), models(static.test[:7] - 0.5)
    assert equal_budget(same, static).size == 7
    assert equal_budget(static, static).share == 0.5
    assert equal_budget(better, static).share > 0.99
