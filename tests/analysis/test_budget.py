"""Comparisons at equal budgets, selected models in tables, and costs."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from mtk.analysis import (
    comparison,
    comparisons,
    equal_budget,
    hypervolume,
    load,
    non_dominated,
    views,
)
from mtk.analysis.figures import averages, fronts
from mtk.analysis.reporting import remarks, tables
from tests.analysis.pools import models
from tests.analysis.synthetic import grid, two_stages, write_study


def test_equal_budgets_of_equal_and_of_better_methods():
    generator = np.random.default_rng(4)
    static = models(generator.uniform(1, 2, (40, 2)))
    same, better = models(static.test[:7]), models(static.test[:7] - 0.5)
    assert equal_budget(same, static).size == 7
    assert equal_budget(static, static).share == 0.5
    assert equal_budget(better, static).share > 0.99


def test_equal_budgets_enumerate_all_subsets_if_few():
    generator = np.random.default_rng(5)
    static, own = models(generator.uniform(1, 2, (9, 2))), models(generator.uniform(1, 2, (2, 2)))
    front = static.test[non_dominated(static.test)]
    scale, corner = np.ptp(front, axis=0), front.max(0) + 0.1 * np.ptp(front, axis=0)

    def volume(points):
        return hypervolume(points / scale, corner / scale)

    others = [volume(static.test[[*pair]]) for pair in itertools.combinations(range(9), 2)]
    found = equal_budget(own, static)
    assert found.static == pytest.approx(np.mean(others))
    wins = [(volume(own.test) > v) + 0.5 * (volume(own.test) == v) for v in others]
    assert found.share == pytest.approx(np.mean(wins))


def two_stage_study(folder, accuracy_of_bad=0.9):
    """Runs at a rate of 1.0 have the largest losses and the best accuracy; losses select."""
    runs = two_stages(seeds=(1, 2), weights=(0.1, 0.5, 0.9), rates=(0.1, 1.0))
    study = write_study(folder / "study", runs)
    bad = {run.hash for run in runs if run.rate == 1.0}
    for path in (study / "runs").glob("*/result.json"):
        if path.parent.name in bad:
            result = json.loads(path.read_text())
            for split in ("validation", "test"):
                for own in result[split]["tasks"].values():
                    own["accuracy"] = accuracy_of_bad
            path.write_text(json.dumps(result))
    return study, runs


def test_selected_models_are_those_with_fresh_seeds(tmp_path):
    (view,) = views(load(two_stage_study(tmp_path)[0]))
    rate = "experiment.Optimization.learning_rate"
    # In the first stage, accuracy would select other models.
    first = view.first_stage
    models = first.candidates("mgda", "accuracy")
    assert first.of("mgda")[rate].iloc[models.rows[models.selected]].tolist() == [1.0]
    for space in ("loss", "accuracy"):
        chosen = comparison.selected(view, space)
        assert set(chosen["seeds"]) == {3}
        assert set(view.found.loc[view.found[chosen.columns[-1]].notna(), "seeds"]) == {1, 3}
        assert len(chosen) == 6
        table = tables.indicator_table(view, space).set_index("method")
        assert table["configurations"].tolist() == [6, 2, 2, 2]
        assert table["measured"].tolist() == [3, 1, 1, 1]
        assert table["first-stage configurations at equal budgets"].dropna().tolist() == [2, 2, 2]
    assert tables.averages_of(view)["test"].max() < 0.9
    (said,) = [text for text in remarks.remarks(view, comparisons(view)) if "other metrics" in text]
    assert "by accuracy static weights 3, pcgrad 1, mgda 1, gradnorm 1" in said
    # The large points of Figure 10 are the same models.
    for axis in averages.draw(view).axes:
        large = [line.get_xdata()[0] for line in axis.lines if line.get_markersize() == 9]
        assert len(large) == 4
        assert max(large) < 0.9


def test_indicators_use_the_widths_of_the_verdicts(tmp_path):
    """Widths are those of all measured static models, not only of those that validation selects."""
    table = load(two_stage_study(tmp_path)[0])
    # At the seed that selects, the first static model is dominated.
    worse = (table["role"] == "baseline") & (table["stage"] == "select")
    worse &= table["task_weights"].map(lambda own: bool(own) and own["left"] < 0.4)
    columns = [f"validation/{task}/loss" for task in ("left", "right")]
    table.loc[worse, columns] += 5.0
    (view,) = views(table)
    asked = comparisons(view)
    found = tables.indicator_table(view, "loss", asked).set_index("method")
    assert found.loc["static weights", ["measured", "selected"]].tolist() == [3, 2]
    points = comparison.static_models(asked)["loss"].values.mean(1)
    front = points[non_dominated(points)]
    widths = comparison.width_table(view, asked).query("compared == 'loss'")["width"].to_numpy()
    own = view.of("pcgrad")[lambda t: t["measured"]][["test/left/loss", "test/right/loss"]]
    corner = front.max(0) / widths + 0.1
    volume = np.prod(np.maximum(corner - own.to_numpy(float)[0] / widths, 0))
    assert found.loc["pcgrad", "hypervolume"] == pytest.approx(volume)


def test_models_without_a_first_stage_are_not_drawn_on_validation(tmp_path):
    table = load(two_stage_study(tmp_path)[0])
    lost = (table["stage"] == "select") & (table["role"] == "baseline")
    (view,) = views(table.assign(status=table["status"].mask(lost, "diverged")))
    compared = comparisons(view)
    assert compared[0].verdicts
    panels = [("loss", "validation"), ("loss", "test")]
    before, after = fronts.draw(view, panels, compared).axes[:2]
    assert len(before.containers[0].lines[0].get_xdata()) == 0
    assert len(after.containers[0].lines[0].get_xdata()) == 3


def test_equal_budgets_compare_runs_of_one_stage(tmp_path):
    study, _ = two_stage_study(tmp_path)
    table = load(study)
    fresh = table["stage"] == "measure"
    moved = table.copy()
    moved.loc[fresh, [c for c in table if c.startswith("test/")]] += 5.0
    names = [
        "first-stage configurations at equal budgets",
        "hypervolume at equal budgets",
        "static hypervolume at equal budgets",
    ]
    first, second = (
        tables.indicator_table(views(each)[0], "loss")[[*names, "share of wins"]]
        for each in (table, moved)
    )
    pd.testing.assert_frame_equal(first, second)


def test_all_models_of_a_single_stage_study_are_measured(tmp_path):
    (view,) = views(load(write_study(tmp_path / "study", grid(weights=(0.3, 0.7)))))
    assert view.first_stage is view
    assert view.found["measured"].all()
    assert "runs" in tables.budgets(view)


@pytest.mark.parametrize("known", ["all", "some", "none"])
def test_hours_are_cpu_time_if_recorded_and_wall_clock_time_otherwise(tmp_path, known):
    study, runs = two_stage_study(tmp_path)
    lines = [
        {"run": run.hash, "event": event, "seconds": 1e6, "cpu_seconds": 1800.0}
        for run in runs
        for event in ("interrupted", "finished")
    ]
    if known == "some":  # A session of an earlier version.
        del lines[-1]["cpu_seconds"]
    if known != "none":
        (study / "run_log.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    table = load(study).assign(steps_per_second=0.25)
    (view,) = views(table)
    found = tables.budgets(view)
    numbers = found["runs that select"] + found["runs that measure"]
    if known == "all":
        assert found[tables.CPU_HOURS].tolist() == numbers.tolist()
    else:
        assert tables.CPU_HOURS not in found
        expected = numbers * 600 / 0.25 / 3600
        np.testing.assert_allclose(found[tables.CLOCK_HOURS], expected)
