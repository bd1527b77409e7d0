"""Statistics over configurations: known values, and independent computations."""

import itertools

import numpy as np
import pandas as pd
import pytest

from mtk import analysis
from mtk.analysis.metric_sets import Objective, directions
from tests.analysis.pools import models
from tests.analysis.synthetic import Run, grid, write_study

LOSSES = [Objective("left", "loss", 1), Objective("right", "loss", 1)]


def test_directions_are_recorded_or_given_by_the_user():
    said = {"left": {"iou_loss": "min", "score": None, "loss": "min"}}
    names = ("iou_loss", "score", "accuracy", "loss")
    values = {f"test/left/{name}": [1.0] for name in names}
    table = pd.DataFrame({**values, "directions": [said]})
    assert directions(table) == {("left", "iou_loss"): 1, ("left", "loss"): 1}
    found, unknown = analysis.find_metric_sets(table)
    assert (list(found), unknown) == (["loss", "iou_loss"], ["score", "accuracy"])
    told = directions(table, higher=["score", "iou_loss"], lower=["accuracy"])
    signs = {"iou_loss": -1, "loss": 1, "score": -1, "accuracy": 1}
    assert told == {("left", name): sign for name, sign in signs.items()}


def test_directions_are_not_guessed_from_names():
    names = ("accuracy", "bleu", "miou", "error", "rmse")
    table = pd.DataFrame({f"test/a/{name}": [1.0] for name in ("loss", *names)})
    found, unknown = analysis.find_metric_sets(table)
    assert (list(found), unknown) == (["loss"], list(names))


def test_metrics_are_matched_across_tasks():
    values = {
        "test/segmentation/loss": [1.0], "test/segmentation/miou": [0.5],
        "test/segmentation/pixel_accuracy": [0.7], "test/depth/loss": [1.0],
        "test/depth/absolute_error": [0.1], "test/depth/relative_error": [9.0],
    }  # fmt: skip
    said = {
        "segmentation": {"miou": "max", "pixel_accuracy": "max"},
        "depth": {"absolute_error": "min", "relative_error": "min"},
    }
    found, unknown = analysis.find_metric_sets(pd.DataFrame({**values, "directions": [said]}))
    assert list(found) == [
        "loss", "miou × absolute_error", "pixel_accuracy × absolute_error", "miou × relative_error",
    ]  # fmt: skip
    assert [objective.sign for objective in found["miou × absolute_error"]] == [-1, 1]
    assert unknown == []
    found, unknown = analysis.find_metric_sets(
        pd.DataFrame({"test/a/score": [1.0], "test/a/loss": [1.0]})
    )
    assert (list(found), unknown) == (["loss"], ["score"])


def test_tables_without_required_columns_raise(tmp_path):
    for read in (
        analysis.configurations,
        analysis.views,
        lambda table: analysis.sparse_grids(table, LOSSES, "static_weights"),
    ):
        with pytest.raises(ValueError, match="Missing columns: study, method, role, configuration"):
            read(pd.DataFrame())
    none = analysis.load(write_study(tmp_path / "study", [Run()]))[:0]
    assert len(analysis.configurations(none)) == 0


def test_delta_m_equals_that_computed_by_hand():
    rows = [
        ("single", {"left": 1.0, "right": 0.0}, 1.0, 9.0),
        # Worse in validation, hence not selected.
        ("single", {"left": 1.0, "right": 0.0}, 2.0, 1.0),
        ("single", {"left": 0.0, "right": 1.0}, 9.0, 4.0),
        ("method", None, 1.1, 3.0),
    ]
    found = pd.DataFrame(rows, columns=["role", "task_weights", "left", "right"])
    found["comparable"] = True
    for split in ("validation", "test"):
        for task in ("left", "right"):
            found[f"{split}/{task}/loss"] = found[task]
    worse = analysis.delta_m(found, LOSSES)
    # 10 % worse on the left, 25 % better on the right.
    assert worse.iloc[3] == pytest.approx((10 - 25) / 2)
    with pytest.raises(ValueError, match="'right' has no single-task run"):
        analysis.delta_m(found.drop(index=2), LOSSES)


def test_delta_m_with_a_single_task_value_of_zero(tmp_path):
    """For example the F1 score of a rare class that a model never predicts."""
    runs = [Run(weight=w, seed=s) for w in (0.2, 0.5, 0.8) for s in (0, 1)]
    runs += [Run("left_alone", weight=1.0), Run("right_alone", weight=0.0)]
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "study", runs)))
    assert analysis.against_single_tasks(view, "loss").startswith(
        "Compared with single-task models, Δm"
    )
    view.found["test/left/loss"] = 0.0
    with pytest.raises(analysis.UnavailableError, match="has the value zero"):
        analysis.single_task_table(view, "loss")
    assert "(Δm of loss): a single-task model has the value zero" in (
        analysis.against_single_tasks(view, "loss")
    )
    # A diverged single-task model is reported; without single-task models there is no text.
    lost = [*runs[:-1], Run("right_alone", weight=0.0, status="diverged")]
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "lost", lost)))
    assert analysis.against_single_tasks(view, "loss").endswith("single-task models diverged.")
    (view,) = analysis.views(analysis.load(write_study(tmp_path / "none", runs[:-2])))
    assert analysis.against_single_tasks(view, "loss") == ""


def test_delta_m_of_a_maximized_metric():
    found = pd.DataFrame({"role": ["single", "method"], "task_weights": [{"left": 1.0}, None]})
    found["comparable"] = True
    for split in ("validation", "test"):
        found[f"{split}/left/accuracy"] = [0.8, 0.6]
    worse = analysis.delta_m(found, [Objective("left", "accuracy", -1)])
    assert worse.iloc[1] == pytest.approx(25.0)


def dense(seeds=9, rates=27, noise=0.01):
    powers = (-2, -1, 0)[: rates // 9]
    runs = [Run(rate=float(f"{k}e{p}")) for k in range(1, 10) for p in powers]
    return runs + [Run(rate=0.1, seed=seed) for seed in range(1, seeds)], noise


def test_sparse_grids_and_their_statistics(tmp_path):
    runs, noise = dense()
    table = analysis.load(write_study(tmp_path / "study", runs, noise))
    found = analysis.sparse_grids(table, LOSSES, "static_weights")
    assert found.starts.tolist() == list(range(1, 10))
    assert found.rate == 0.1
    assert len(found.by_seed) == 9
    first = table[table["seed"] == 0].set_index("experiment.Optimization.learning_rate")
    for k, value in zip(found.starts, found.by_grid, strict=True):
        own = first.loc[[float(f"{k:g}e{p}") for p in (-2, -1, 0)]]
        mean = own[["validation/left/loss", "validation/right/loss"]].mean(axis=1)
        best = own.loc[mean.idxmin()]
        assert value == pytest.approx((best["test/left/loss"] + best["test/right/loss"]) / 2)
    ratio = np.var(found.by_grid, ddof=1) / np.var(found.by_seed, ddof=1)
    assert found.ratio == pytest.approx(np.sqrt(max(ratio - 1, 0)))
    low, high = found.interval()
    assert low <= found.ratio <= high


def test_sparse_grids_without_a_dense_grid_or_seeds_raise(tmp_path):
    table = analysis.load(write_study(tmp_path / "coarse", grid()))
    with pytest.raises(ValueError, match="three are needed"):
        analysis.sparse_grids(table, LOSSES, "static_weights")
    table = analysis.load(write_study(tmp_path / "dense", dense(seeds=2)[0]))
    with pytest.raises(ValueError, match="at least three seeds"):
        analysis.sparse_grids(table, LOSSES, "static_weights")


def test_schedules_are_excluded_from_sparse_grids(tmp_path):
    table = analysis.load(write_study(tmp_path / "dense", dense()[0]))
    rate = "experiment.Optimization.learning_rate"
    plain = analysis.sparse_grids(table, LOSSES, "static_weights")
    mixed = table.astype({rate: object})
    extra = table.iloc[:4].assign(
        **{rate: "schedules.Cosine", "configuration": "c", "seed": [0, 1, 2, 3]}
    )
    found = analysis.sparse_grids(pd.concat([mixed, extra]), LOSSES, "static_weights")
    assert found.by_grid.tolist() == plain.by_grid.tolist()
    assert found.by_seed.tolist() == plain.by_seed.tolist()
    with pytest.raises(ValueError, match=": 0 complete grids"):
        analysis.sparse_grids(table.drop(columns=rate), LOSSES, "static_weights")


def test_utilities_are_those_of_models_selected_on_validation():
    generator = np.random.default_rng(0)
    own = {
        name: models(generator.uniform(size=(9, 2)), generator.uniform(size=(9, 2)))
        for name in ("a", "b")
    }
    found = analysis.utilities(own, np.ones(2))
    for weight in (0.0, 0.3, 0.5, 1.0):
        weights = np.array([weight, 1 - weight])
        for name, pool in own.items():
            best = min(range(9), key=lambda n: pool.validation[n] @ weights)
            row = found.iloc[round(100 * weight)]
            assert row[name] == pytest.approx(pool.test[best] @ weights)
    ranks = analysis.ranks(found)
    assert (ranks.sum(axis=1) == 3).all()


def test_ranking_depends_on_the_weighting():
    own = {"left": models([[0.0, 1.0]]), "right": models([[1.0, 0.0]])}
    ranks = analysis.ranks(analysis.utilities(own, np.ones(2)))
    assert ranks.loc[1.0].to_dict() == {"left": 1, "right": 2}
    assert ranks.loc[0.0].to_dict() == {"left": 2, "right": 1}


@pytest.mark.parametrize("ties", [False, True])
def test_search_curve_is_the_mean_over_all_orders(ties):
    generator = np.random.default_rng(0)
    validation = np.array([[0.3], [0.1], [0.3], [0.1], [0.3]])
    validation = validation if ties else generator.uniform(size=(5, 1))
    pool = models(validation, generator.uniform(size=(5, 1)))
    found = analysis.search_curve(pool, cost=2.0)
    reached = np.array(
        [
            [pool.test[min(order[:n], key=lambda i: pool.validation[i, 0]), 0] for n in range(1, 6)]
            for order in itertools.permutations(range(5))
        ]
    )
    assert found["cost"].tolist() == [2, 4, 6, 8, 10]
    np.testing.assert_allclose(found["mean"], reached.mean(0))
    for name, share in (("low", 0.1), ("high", 0.9)):
        whole = np.quantile(reached, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(found[name], whole)


def test_search_curve_of_many_models_ends_at_the_best():
    pool = models(np.random.default_rng(0).uniform(size=(1200, 1)))
    found = analysis.search_curve(pool, cost=1.0)
    # The mean of the smallest of n uniform numbers is 1 / (n + 1).
    np.testing.assert_allclose(found["mean"].iloc[[0, 9, 99]], [1 / 2, 1 / 11, 1 / 101], rtol=0.3)
    assert found["mean"].iloc[-1] == found["high"].iloc[-1] == pool.test.min()


def test_cost_is_in_steps_of_static_weights():
    table = pd.DataFrame(
        {
            "study": "s",
            "method": ["static", "static", "mgda", "pcgrad"],
            "role": ["baseline", "baseline", "method", "method"],
            "steps": [100, 100, 100, 50],
            "steps_per_second": [10.0, 12.0, 5.5, np.nan],
        }
    )
    cost = analysis.with_cost(table, {"pcgrad": 3.0})["cost"]
    assert cost.tolist() == pytest.approx([100, 100, 200, 150])
    assert analysis.with_cost(table.drop(columns="steps_per_second"))["cost"].isna().all()
