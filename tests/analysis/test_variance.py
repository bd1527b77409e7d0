"""Sources of variance, probability of improvement, budgets, and edges of grids."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mtk import analysis
from mtk.analysis.metric_sets import MetricSets, Objective, UnavailableError
from mtk.analysis.paired_margins import MEAN
from mtk.analysis.reporting import tables
from mtk.analysis.reporting.remarks import edges
from mtk.analysis.reporting.tables import budgets
from mtk.comparison.result import Comparison
from tests.analysis.synthetic import Run, grid, two_stages, write_study


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("variance") / "study"
    (made,) = analysis.views(analysis.load(write_study(folder, two_stages(gain=0.2))))
    return made


def question(view):
    return next(q for q in analysis.comparisons(view) if q.kind == MEAN and q.space == "loss")


def test_shares_of_variance_sum_to_one_hundred_percent(view):
    table = tables.variance_table(view, "loss").set_index("source").iloc[:, 0]
    assert table.sum() == pytest.approx(100)
    assert (table >= -1e-9).all()
    # Losses vary by up to 0.15 with the learning rate, less with weights, 0.01 with seeds.
    assert table["hyperparameters"] > 50
    assert table["rest"] < 5


def test_variance_needs_repeated_seeds(tmp_path):
    (once,) = analysis.views(analysis.load(write_study(tmp_path / "study", grid())))
    with pytest.raises(UnavailableError, match="two or more seeds"):
        tables.variance_table(once, "loss")


def test_probability_of_improvement_is_the_fraction_of_pairs(view):
    asked = question(view)
    table = tables.improvement_table(view, asked).set_index("method")
    static, own = asked.measured.models["static weights"], asked.measured.models["gradnorm"]
    equal = static.values[4].mean(1)
    pairs = [a < b for a in own.values[0].mean(1) for b in equal]
    assert table.loc["gradnorm", "probability"] == pytest.approx(np.mean(pairs))
    assert table.loc["pcgrad", "probability"] == 1
    assert (table["low (95 %)"] <= table["high (95 %)"]).all()


def test_probability_of_improvement_does_not_depend_on_units(view):
    """A task in large units would decide alone."""
    mixed = [Objective("left", "loss", 1), Objective("right", "accuracy", -1)]
    found = []
    for factor in (1e-6, 1.0, 1e6):
        table = view.table.copy()
        table[[c for c in table if str(c).endswith("left/loss")]] *= factor
        own = replace(
            view,
            table=table,
            found=analysis.configurations(table),
            spaces=MetricSets({"loss × accuracy": mixed}),
        )
        asked = next(c for c in analysis.comparisons(own) if c.kind == MEAN)
        found.append(tables.improvement_table(own, asked).set_index("method"))
    assert found[1].loc["gradnorm", "probability"] not in (0, 1)
    pd.testing.assert_frame_equal(found[0], found[1])
    pd.testing.assert_frame_equal(found[2], found[1])


def test_budgets_count_both_stages(view):
    table = budgets(view).set_index("method")
    assert table.loc["static weights"].tolist()[:3] == [27, 27, 27]
    assert table.loc["pcgrad"].tolist()[:3] == [3, 3, 3]


def test_value_at_the_edge_of_its_grid_is_reported(view, tmp_path):
    assert edges(view, question(view).measured) == []
    runs = two_stages(rates=(0.1, 1.0, 10.0))
    (narrow,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    said = edges(narrow, question(narrow).measured)
    assert len(said) == 4  # Three methods, and the static weights.
    assert all("learning_rate = 0.1 is the smallest" in text for text in said)
    answer = str(Comparison(tmp_path / "study", ["left", "right"])).splitlines()
    assert set(said) <= set(answer)


@pytest.mark.parametrize(("rates", "edge"), [((0.01, 0.1, 1.0), None), ((0.1, 1.0, 10.0), 0.1)])
def test_single_task_model_at_the_edge_of_its_grid_is_reported(tmp_path, rates, edge):
    """Otherwise methods would be compared with an untuned single-task model."""
    runs = two_stages(rates=(0.01, 0.1, 1.0))
    runs += [Run("left_alone", weight=1.0, rate=rate, stage="select") for rate in rates]
    runs += [Run("left_alone", weight=1.0, rate=0.1, stage="measure", seed=s) for s in (1, 2, 3)]
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    said = edges(view, question(view).measured)
    assert len(said) == (edge is not None)
    assert all(text.startswith(f"left alone: learning_rate = {edge} is the") for text in said)


def test_units_of_means_are_cached(view):
    """Every row of a table needs them."""
    assert view.units is view.units
    assert view.units["loss"] is not None
