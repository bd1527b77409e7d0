"""Confidence intervals over seeds and test examples: coverage, and pairing of runs."""

import functools

import numpy as np
import pandas as pd
import pytest
from simulated_studies import Cell, verdicts

from mtk import example_values
from mtk.analysis import Models, judge, measured
from mtk.analysis.measure import FILE, GROUPS, examples_of, grouped
from mtk.analysis.metric_sets import Objective
from mtk.analysis.paired_margins import FRONT, MEAN
from mtk.example_values import ExampleValues

NUMBER = 640


def values_of(values, order="an order", counts=None):
    """Returns example values of one metric, `left/loss`."""
    values = np.asarray(values, float)[None]
    counts = np.ones_like(values) if counts is None else np.asarray(counts, float)[None]
    names = np.array(["left/loss"])
    return ExampleValues(names, np.array([order]), np.array([values.size]), values, counts)


@pytest.mark.parametrize("weighted", [False, True])
def test_variance_of_groups_equals_that_of_the_mean(weighted):
    """Compared with the exact variance of a (weighted) mean, on average over many test sets."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(100):
        values = rng.gamma(1.0, size=NUMBER)
        counts = rng.integers(0, 3, NUMBER).astype(float) if weighted else np.ones(NUMBER)
        found = grouped(values_of(values, counts=counts)).deviations["left/loss"]
        assert found.mean() == pytest.approx(0, abs=1e-9)
        centered = values - np.average(values, weights=counts)
        exact = np.sum((counts * centered) ** 2) / counts.sum() ** 2
        ratios.append(found.var(ddof=1) / GROUPS / exact)
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_subsampled_test_set_counts_with_its_full_size():
    values = np.random.default_rng(0).normal(size=NUMBER)
    whole = values_of(values)
    thin = whole._replace(values=whole.values[:, ::2], counts=whole.counts[:, ::2])
    deviations = [grouped(x).deviations["left/loss"].std() for x in (whole, thin)]
    assert deviations[1] == pytest.approx(deviations[0], rel=0.4)


def two_models(rng, size, seeds=5, common=1.0, rest=1.0, of_seed=0.02):
    """Returns a static model and a method that are equally good, on a finite test set.

    Standard deviations per example: `common` is that of the part that a model has at all seeds,
    `rest` that of the remainder.
    """
    hard = rng.normal(0, 3.0, (1, size))
    models = []
    for _ in range(2):
        own = rng.normal(0, common, (1, size)) + rng.normal(0, rest, (seeds, size))
        examples = own + hard + rng.normal(0, of_seed, (seeds, 1))
        cells = [grouped(values_of(row)).deviations["left/loss"] for row in examples]
        means = examples.mean(1)[None, :, None]
        models.append(Models(means, None, means[:, :, None] + np.stack(cells)[None, ..., None]))
    return models


def interval(models, examples=True, level=0.8):
    static, own = (m if examples else Models(m.values) for m in models)
    # Another static model, worse by one, sets the unit and adds no noise.
    values, cells = (
        (x, x + 1.0) if x is not None else () for x in (static.values, static.examples)
    )
    static = Models(np.concatenate(values), None, np.concatenate(cells) if cells else None)
    return judge(static, {"m": own}, MEAN, units=np.ones(1), level=level)["m"]


@pytest.mark.parametrize(
    ("common", "rest", "of_seed"),
    [(1.0, 1.0, 0.02), (1.0, 0.0, 0.1), (0.0, 1.0, 0.02)],
)
def test_coverage_of_intervals(common, rest, of_seed):
    rng = np.random.default_rng(1)
    drawn = [two_models(rng, 160, 5, common, rest, of_seed) for _ in range(40)]
    covered = [
        np.mean([v.low <= 0 <= v.high for v in (interval(m, known) for m in drawn)])
        for known in (True, False)
    ]
    assert covered[0] >= 0.66  # 80%, less two standard deviations of the sampling error.
    if common * 160**-0.5 > of_seed:
        assert covered[1] < 0.6  # Intervals over seeds only ignore that the test set is small.
    if not common:
        assert covered[0] <= 0.95  # Variation that the seeds show already is not counted twice.


def test_interval_is_wider_for_a_smaller_test_set():
    rng = np.random.default_rng(2)
    widths = {}
    for size in (100, 400, 1600):
        found = [interval(two_models(rng, size, of_seed=1e-3, rest=0.1)) for _ in range(8)]
        widths[size] = np.median([v.high - v.low for v in found])
    assert widths[100] / widths[400] == pytest.approx(2, rel=0.35)
    assert widths[400] / widths[1600] == pytest.approx(2, rel=0.35)


def test_no_further_seeds_are_suggested_if_the_test_set_is_too_small():
    """A method that is slightly better, by less than the test set can resolve."""
    rng = np.random.default_rng(3)
    static, own = two_models(rng, 100, of_seed=1e-3, rest=0.1)
    found = interval((static, own), level=0.95)
    assert found.examples
    assert found.answer == "undecided"
    assert found.further_seeds is None


said = functools.cache(verdicts)
SMALL = Cell(test_size=200, test_noise=0.1, noise=0.005, interaction=0.02, methods=4)


def test_equal_methods_are_undecided_or_equivalent_on_a_small_test_set():
    """Static weightings as methods: they differ only by the 200 test examples."""
    called = {}
    for known in (True, False):
        found = [v for seed in range(6) for v in said(SMALL, seed, known)[FRONT].values()]
        called[known] = np.mean([v.answer in ("better", "worse") for v in found])
        assert all(v.examples == known for v in found)
    assert called[True] == 0
    assert called[False] > 0.2


LOSSES = [Objective("left", "loss", 1)]


def runs(order=lambda method, seed: "an order", kept=lambda method, seed: True):
    rows = []
    for method in ("static", "a"):
        for seed in (1, 2, 3):
            values = np.random.default_rng(seed).normal(size=NUMBER)
            examples = grouped(values_of(values, order(method, seed)))
            row = {"method": method, "configuration": method, "static": method == "static"}
            row |= {"weights": None, "seed": seed, "stage": "measure", "status": "finished"}
            row |= {"monitored": 0.0, "test/left/loss": values.mean(), "validation/left/loss": 0.0}
            rows.append({**row, "examples": examples if kept(method, seed) else None})
    return pd.DataFrame(rows)


def test_examples_are_paired_and_average_to_the_values():
    found = measured(runs(), LOSSES)
    assert found.remarks == []
    for own in found.models.values():
        assert own.examples.shape == (1, 3, GROUPS, 1)
        np.testing.assert_allclose(own.examples.mean(2), own.values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"kept": lambda method, seed: seed != 2},
            "2 of the 6 runs that are compared on test lack a readable",
        ),
        ({"order": lambda method, seed: method}, "were tested on different examples"),
        ({"order": lambda method, seed: f"{seed}"}, "Each seed has its own test examples"),
    ],
)
def test_runs_without_common_examples_are_paired_over_seeds_with_a_remark(changes, said):
    found = measured(runs(**changes), LOSSES)
    assert all(own.examples is None for own in found.models.values())
    assert len(found.remarks) == 1
    assert said in found.remarks[0]
    assert found.seeds == [1, 2, 3]


def test_metric_that_is_not_a_mean_over_examples_is_reported():
    table = runs().assign(**{"test/left/auc": 0.5})
    found = measured(table, [Objective("left", "auc", -1)])
    assert "left/auc was not recorded as a mean over test examples" in found.remarks[0]


def test_sign_of_deviations_follows_the_direction():
    examples = grouped(values_of(np.arange(NUMBER)))
    less, more = (examples.of([Objective("left", "loss", sign)]) for sign in (1, -1))
    np.testing.assert_array_equal(less, -more)


def test_example_files_are_read_only_for_measured_runs(tmp_path):
    for name in ("good", "damaged", "selects", "none"):
        (tmp_path / name).mkdir()
        if name != "none":
            example_values.save(tmp_path / name / FILE, values_of(np.arange(9.0)))
    (tmp_path / "damaged" / FILE).write_bytes(b"PK damaged")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE).symlink_to(tmp_path / "good" / FILE)
    names = ["good", "damaged", "selects", "none", "link"]
    table = pd.DataFrame({"path": [str(tmp_path / name) for name in names]})
    stages = ["measure", None, "select", "measure", None]
    with pytest.warns(UserWarning, match=f"damaged.{FILE} is damaged and is ignored"):
        found = examples_of(table.assign(status="finished", stage=stages))
    assert [each is not None for each in found] == [True, False, False, False, False]
