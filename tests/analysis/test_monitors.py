"""Runs are compared by their monitor, and not across monitors."""

import json

import numpy as np
import pandas as pd
import pytest
from synthetic import Run, grid, two_stages, write_study

from mtk import analysis
from mtk.analysis import Objective, metric_sets
from mtk.analysis.comparison import _questions, selection
from mtk.analysis.figures import utility
from mtk.analysis.reporting import tables
from mtk.analysis.study_view import views

LOSSES = [Objective(task, "loss", 1) for task in ("left", "right")]


def said(name, direction="min", value=1.0, first=None):
    more = {} if first is None else {"first": first}
    return {"monitor": {"name": name, "direction": direction, "value": value, **more}}


def dense(about):
    """A dense grid of learning rates; `about` returns the record of a run's monitor."""
    rates = [float(f"{k}e{p}") for k in range(1, 10) for p in (-2, -1, 0)]
    runs = [(rate, 0) for rate in rates] + [(0.1, seed) for seed in range(1, 4)]
    return [Run(rate=rate, seed=seed, extra=about(rate)) for rate, seed in runs]


def loaded(tmp_path, runs, **arguments):
    return analysis.load(write_study(tmp_path / "study", runs, **arguments))


def test_monitor_records_are_loaded(tmp_path):
    runs = [
        Run(rate=0.1, extra=said("left_accuracy", "max", 0.9)),
        Run(rate=0.2, extra=said("relative_loss", value=0.5, first={"left": 2.0, "right": 3.0})),
        Run(rate=0.3),
    ]
    table = loaded(tmp_path, runs)
    assert table["monitor"].tolist()[:2] == ["left_accuracy", "relative_loss"]
    assert table["monitor"].isna().tolist() == [False, False, True]
    assert table["monitor_direction"].tolist()[:2] == ["max", "min"]
    assert table["selected_value"].tolist()[:2] == [0.9, 0.5]
    # An earlier version recorded relative losses by task name.
    assert table["first_values"][1] == {"left_loss": 2.0, "right_loss": 3.0}
    assert table["selected_terms"][1].keys() == table["first_values"][1].keys()


@pytest.mark.parametrize(
    "damage",
    [
        {"monitor": 3},
        {"monitor": {}},
        {"monitor": {"name": 3, "direction": "min"}},
        {"monitor": {"name": "a", "direction": "up"}},
        {"monitor": {"name": "a", "direction": "min", "value": "low"}},
        {"monitor": {"name": "a", "direction": "min", "value": 1.0, "first": {"left": "low"}}},
        {"monitor": {"name": "a", "direction": "min", "value": 1.0, "first": {"left": 0.0}}},
        {"monitor": {"name": "a", "direction": "min", "value": 1.0, "first": {"other": 1.0}}},
        {"monitor": {"name": "a", "direction": "min", "value": 1.0, "terms": 3}},
    ],
)
def test_damaged_monitor_makes_the_run_damaged(tmp_path, damage):
    table = loaded(tmp_path, [Run(rate=0.1, extra=damage), Run(rate=0.2)])
    assert table["status"].tolist() == ["damaged", "finished"]


def test_different_monitors_give_separate_views(tmp_path):
    old = grid(weights=(0.4, 0.6))
    new = grid(weights=(0.4, 0.6), decays=(1e-3,))
    for run in new:
        run.extra = said("left_accuracy", "max", 0.5)
    titles = {view.title: len(view.table) for view in views(loaded(tmp_path, old + new))}
    assert titles == {
        "synthetic (selected by mean_loss)": len(old),
        "synthetic (selected by left_accuracy)": len(new),
    }


def test_old_runs_count_as_selected_by_mean_loss(tmp_path):
    runs = grid(weights=(0.4, 0.6))
    for run in runs[::2]:
        run.extra = said("mean_loss")
    (view,) = views(loaded(tmp_path, runs))
    assert view.title == "synthetic"


def test_unfinished_runs_are_in_the_view_of_their_configuration(tmp_path):
    runs = grid(weights=(0.4, 0.6))
    for run in runs:
        run.extra = said("relative_loss", first={"left": 2.0, "right": 3.0})
    folder = write_study(tmp_path / "study", runs)
    (folder / "runs" / runs[0].hash / "result.json").unlink()
    (view,) = views(analysis.load(folder))
    assert (view.table["status"] == "unfinished").sum() == 1


@pytest.mark.parametrize("way", ["min", "max"])
def test_sparse_grids_select_by_the_monitor(tmp_path, way):
    """In each grid the run with the largest learning rate, which no loss would select."""
    sign = 1 if way == "max" else -1
    runs = dense(lambda rate: said("left_accuracy", way, sign * rate))
    table = loaded(tmp_path, runs)
    found = analysis.sparse_grids(table, LOSSES, "static_weights")
    first = table[table["seed"] == 0].set_index("experiment.Optimization.learning_rate")
    for k, value in zip(found.starts, found.by_grid, strict=True):
        own = first.loc[float(f"{k:g}e0")]
        assert value == pytest.approx((own["test/left/loss"] + own["test/right/loss"]) / 2)


@pytest.mark.parametrize(
    ("stages", "by", "sentences"),
    [
        (two_stages, "mean_loss", {
            "loss": "",
            "accuracy": "judge models that validation selected by the losses, not by accuracy.",
        }),
        (two_stages, "left_accuracy", {
            "loss": "judge static weightings and their hyperparameters that validation selected by "
            "left_accuracy, not by loss.",
            "accuracy": "judge models that validation selected by the losses and by left_accuracy "
            "(for static weightings: by the latter only).",
        }),
        (grid, "mean_loss", {
            "loss": "",
            "accuracy": "judge static weightings and their hyperparameters that validation "
            "selected by the losses, not by accuracy.",
        }),
    ],
)  # fmt: skip
def test_verdicts_name_other_selecting_metrics(tmp_path, stages, by, sentences):
    runs = stages(seeds=(1, 2), weights=(0.3, 0.5, 0.7), rates=(0.1, 1.0))
    for run in runs:
        run.extra = said(by)
    (view,) = views(loaded(tmp_path, runs))
    found = {each.space: selection(view, each.space) for each in analysis.comparisons(view)}
    assert found == {
        name: text and f"Verdicts on {name} {text}" for name, text in sentences.items()
    }


def test_sparse_grids_of_relative_losses_share_one_unit(tmp_path):
    runs = dense(lambda rate: said("relative_loss", value=rate, first={"left": rate, "right": 8.0}))
    table = loaded(tmp_path, runs)
    found = analysis.sparse_grids(table, LOSSES, "static_weights")
    rates = table["experiment.Optimization.learning_rate"].astype(float)
    units = np.array([np.exp(np.log(rates).mean()), 8.0])
    first = table[table["seed"] == 0].set_index("experiment.Optimization.learning_rate")
    columns = {s: [f"{s}/left/loss", f"{s}/right/loss"] for s in ("validation", "test")}
    for k, value in zip(found.starts, found.by_grid, strict=True):
        own = first.loc[[float(f"{k:g}e{p}") for p in (-2, -1, 0)]]
        best = (own[columns["validation"]] / units).mean(axis=1).idxmin()
        assert value == pytest.approx((own.loc[best, columns["test"]] / units).mean())


def test_sparse_grids_with_two_monitors_raise(tmp_path):
    runs = dense(lambda rate: said("left_accuracy", "max", 0.5) if rate > 0.1 else {})
    with pytest.raises(ValueError, match="different monitors, .*'left_accuracy'"):
        analysis.sparse_grids(loaded(tmp_path, runs), LOSSES, "static_weights")
    runs = dense(lambda rate: said("right_loss" if rate > 0.1 else "mean_loss"))
    with pytest.raises(ValueError, match="experiment.Training.monitor"):
        analysis.sparse_grids(
            analysis.load(write_study(tmp_path / "other", runs)), LOSSES, "static_weights"
        )


def test_units_of_means_of_relative_losses(tmp_path):
    runs = grid(weights=(0.4, 0.5, 0.6))
    for run in runs:
        run.extra = said("relative_loss", first={"left": 2.0, "right": 50.0})
    (view,) = views(loaded(tmp_path, runs))
    np.testing.assert_allclose(view.units["loss"], [2.0, 50.0])
    np.testing.assert_allclose(view.units["accuracy"], [1.0, 1.0])
    # An error would have the units of each task.
    (view,) = views(loaded(tmp_path / "errors", runs), lower=["accuracy"])
    assert view.units["accuracy"] is None


def test_tables_average_relative_losses_in_their_units(tmp_path):
    """In raw units the task with the largest values would decide alone."""
    runs = grid(weights=(0.2, 0.5, 0.8))
    runs += [Run("mgda", "MGDA", weight=0.4, rate=rate) for rate in (0.03, 0.1, 0.3)]
    units = {"left": 0.01, "right": 1.0}
    for run in runs:
        run.extra = said("relative_loss", first=units)
    costs = {"static_weights": 1.0, "mgda": 1.0}
    (view,) = views(loaded(tmp_path, runs), costs=costs)
    own = view.of("mgda")
    validation, test = (
        np.stack([own[f"{split}/{task}/loss"] / unit for task, unit in units.items()], 1)
        for split in ("validation", "test")
    )
    (row,) = tables.equal_compute(view, "loss").to_dict("records")
    expected = test.mean(1)[validation.mean(1).argmin()]
    assert row["mean loss, test in units of the first evaluation's loss"] == pytest.approx(expected)
    for share, reached in utility.compared(view)["mgda"].items():
        weights = np.array([share, 1.0 - share])
        assert reached == pytest.approx(test[(validation @ weights).argmin()] @ weights)


def test_losses_without_a_common_unit_are_not_averaged(tmp_path):
    runs = grid(weights=(0.4, 0.5, 0.6))
    folder = write_study(tmp_path / "study", runs)
    for run in runs[::2]:  # The other runs are of an earlier version.
        path = folder / "runs" / run.hash / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["method"]["one_unit"] = False
        path.write_text(json.dumps(manifest))
    (view,) = views(analysis.load(folder))
    assert view.units["loss"] is None
    for make in (utility.compared, lambda view: tables.equal_compute(view, "loss")):
        with pytest.raises(analysis.UnavailableError):
            make(view)
    np.testing.assert_allclose(view.units["accuracy"], [1.0, 1.0])


def test_constant_metric_is_reported():
    about = {"status": "finished", "role": "baseline", "validation/left/auc": [0.5, 0.6]}
    table = pd.DataFrame({**about, "test/left/auc": 0.0, "validation/left/loss": 1.0})
    (said,) = metric_sets.constant(table.assign(**{"test/left/loss": [1.0, 2.0]}))
    assert said.startswith("The metric auc of 'left' is 0 on the test split in all runs")
    assert [*metric_sets.constant(table.iloc[:1])] == []


@pytest.mark.parametrize("more", [0, 1, 9])
def test_selecting_metric_gets_half_of_the_error_rate(more):
    """And all questions together use the whole error rate."""
    spaces = metric_sets.MetricSets(first=LOSSES, **{f"metric {n}": LOSSES for n in range(more)})
    numbers = _questions(spaces)
    assert sum(2 / number for number in numbers.values()) == pytest.approx(1.0)
    assert numbers["first"] == (4 if more else 2)


def test_selecting_metric_comes_first(tmp_path):
    name = "mean(left_mae / first: min, right_auc: max)"
    table = pd.DataFrame(
        {
            "status": ["finished"],
            "monitor": [name],
            "selected_terms": [{"left_mae": 1.0, "right_auc": -0.9}],
            "directions": [
                {"left": {"mae": "min", "r2": "max"}, "right": {"acc": "max", "auc": "max"}}
            ],
            **{f"test/left/{each}": [1.0] for each in ("loss", "r2", "mae")},
            **{f"test/right/{each}": [1.0] for each in ("loss", "acc", "auc")},
        }
    )
    sets, _ = metric_sets.find_metric_sets(table)
    assert [*sets][:3] == ["mae × auc", "loss", "r2 × acc"]
    sets, _ = metric_sets.find_metric_sets(table.assign(monitor="right_auc", selected_terms=None))
    assert next(iter(sets)) == "r2 × auc"
    sets, _ = metric_sets.find_metric_sets(table.assign(monitor="relative_loss"))
    assert [*sets][:2] == ["loss", "r2 × acc"]
