"""Places, ties and confidence intervals."""

import bench_power
import numpy as np
import pytest

from mtk.analysis.measure import Models
from mtk.bench import rank
from mtk.bench.ranking import difference

FRONT = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])


def models(points, deviation=0.0, seed=0, shared=0.0):
    noise = np.random.default_rng(seed).normal(size=(len(points), 5, 2))
    common = np.random.default_rng(99).normal(size=(1, 5, 2))
    return Models(np.asarray(points)[:, None] + deviation * noise + shared * common)


def test_known_values():
    """A box of side 1.1: rectangles of 0.1 x 1.1, 0.5 x 0.6 and 0.5 x 0.1."""
    found = rank({"zero": models(FRONT), "one": models(FRONT[[1]])}, 0.05)
    assert found["zero"].value == pytest.approx((0.1 * 1.1 + 0.5 * 0.6 + 0.5 * 0.1) / 1.21)
    assert found["one"].value == pytest.approx(0.6 * 0.6 / 1.21)
    assert found["one"].gain == pytest.approx((0.36 - 0.46) / 1.21)
    # A user with weight w on the first task loses min(w, 1 - w, 1/2): 1/4 on average, not 1/2.
    assert found["one"].utility == pytest.approx(-0.25, abs=0.01)
    assert found["zero"].place == 1
    assert found["one"].place == 2


def test_better_front_is_first_and_equal_fronts_tie():
    entries = {
        "zero": models(FRONT, 0.01),
        "better": models(FRONT - 0.2, 0.01, 1),
        "equal": models(FRONT, 0.01, 2),
        "worse": models(FRONT + 0.3, 0.01, 3),
    }
    found = rank(entries, 0.05)
    places = {name: standing.place for name, standing in found.items()}
    assert places == {"better": 1, "zero": 2, "equal": 2, "worse": 4}
    assert found["equal"].ties == ("zero",)
    assert found["zero"].ties == ("equal",)
    assert found["better"].low > 0 > found["worse"].high


@pytest.mark.parametrize("scale", [(1.0, 1.0), (1000.0, 0.01)])
def test_ranking_is_invariant_to_units_and_offsets(scale):
    entries = {"zero": models(FRONT, 0.02), "one": models(FRONT - 0.1, 0.02, 1)}
    moved = {n: Models(m.values * np.array(scale) + 7.0) for n, m in entries.items()}
    before, after = rank(entries, 0.05), rank(moved, 0.05)
    for name in entries:
        for field in ("value", "gain", "low", "high", "utility"):
            assert getattr(after[name], field) == pytest.approx(getattr(before[name], field))


def test_seed_effects_common_to_all_entries_are_not_noise():
    alone = rank({"zero": models(FRONT, 0.01), "one": models(FRONT, 0.01, 1)}, 0.05)["one"]
    shared = {"zero": models(FRONT, 0.01, 0, 0.3), "one": models(FRONT, 0.01, 1, 0.3)}
    assert rank(shared, 0.05)["one"].noise == pytest.approx(alone.noise, rel=0.5)


def test_single_model_of_entry_0_is_ranked():
    found = rank({"zero": models([[0.4, 2.0]]), "one": models([[0.3, 1.5]])}, 0.05)
    assert found["one"].place == 1
    assert found["zero"].place == 2


def test_many_tasks_are_ranked_by_utility():
    values = np.random.default_rng(0).random((1, 5, 40))
    found = rank({"zero": Models(values), "one": Models(0.5 * values)}, 0.05)
    assert found["one"].place == 1
    assert found["one"].gain == found["one"].utility > 0


def test_difference_equals_that_of_the_values():
    entries = {"zero": models(FRONT), "a": models(FRONT - 0.1, 0.01), "b": models(FRONT, 0.01, 1)}
    gain, noise = difference(entries, "a", "b")
    found = rank(entries, 0.05)
    assert gain == pytest.approx(found["a"].value - found["b"].value)
    assert noise > 0


def test_power_with_a_gain_and_false_positives_without():
    """A short version of tools/bench_power.py."""
    found = [bench_power.shares(bench_power.Cell(gain=gain), range(8)) for gain in (0.1, 0.0)]
    assert found[0][0] >= 0.75
    assert found[1][2] == 0.0
