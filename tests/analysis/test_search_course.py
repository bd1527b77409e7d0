"""Searches in reports: hypervolume over CPU time, and runs that stopped at rungs."""

import json

import numpy as np
import pytest

from mtk import analysis
from mtk.analysis.cpu_times import cpu_times
from mtk.analysis.figures import hypervolume
from mtk.analysis.indicators import hypervolume_of, scale_and_reference
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.reporting import figure_list, remarks, tables
from mtk.analysis.select import STATIC
from tests.analysis.synthetic import Run, write_study

WEIGHTS = (0.5, 0.9, 0.1, 0.7, 0.3)


def log(folder, lines):
    (folder / "search.json").write_text("{}")
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (folder / "run_log.jsonl").write_text(text + "\n")


def entry(run, event, cpu):
    return {"run": run.hash, "event": event, "seconds": 1.0, "cpu_seconds": cpu}


@pytest.fixture
def searched(tmp_path):
    """Five models, one of which was interrupted, and two more that stopped at a rung."""
    runs = [Run(weight=weight) for weight in WEIGHTS]
    stopped = [Run(weight=0.5, rate=rate) for rate in (0.01, 1.0)]
    folder = write_study(tmp_path / "study", [*runs, *stopped])
    for run in stopped:
        own = folder / "runs" / run.hash
        (own / "result.json").unlink()
        (own / "rungs").mkdir()
    lines = [entry(runs[0], "finished", 10.0)]
    lines += [entry(run, "paused", 2.5) for run in stopped]
    lines += [entry(runs[1], "interrupted", 4.0)]
    lines += [entry(run, "finished", 10.0) for run in runs[1:]]
    log(folder, lines)
    return folder


def view_of(folder):
    (view,) = analysis.views(analysis.load(folder))
    return view


def test_curve_counts_the_time_of_all_runs_and_ends_at_one(searched):
    view = view_of(searched)
    curve = hypervolume.table(view)
    assert curve["cpu_seconds"].tolist() == [10, 29, 39, 49, 59]
    assert curve["hypervolume"].iloc[-1] == pytest.approx(1.0)
    # Computed here for the first three models.
    models = view.candidates(STATIC, view.spaces.loss)
    names = view.of(STATIC)["configuration"].to_numpy()[models.rows]
    weights = [float(name.split("'left': ")[1].split(",")[0]) for name in names]
    first = [weights.index(weight) for weight in WEIGHTS[:3]]
    scale, corner = scale_and_reference(models.front)
    expected = hypervolume_of(models[np.array(first)], corner, scale)
    expected /= hypervolume_of(models, corner, scale)
    assert curve["hypervolume"].iloc[2] == pytest.approx(expected)
    figure = hypervolume.draw(view)
    (axis,) = figure.axes
    assert axis.get_xlabel().startswith("CPU seconds")


def test_population_members_have_a_curve(tmp_path):
    """Their weights change, so that none of the runs is static."""
    runs = [Run("population", weight=weight) for weight in WEIGHTS]
    folder = write_study(tmp_path / "study", runs)
    listed = json.loads((folder / "study.json").read_text())
    for run in listed["runs"]:
        run["role"] = "method"
    (folder / "study.json").write_text(json.dumps(listed))
    log(folder, [entry(run, "finished", 10.0) for run in runs])
    view = view_of(folder)
    assert view.methods == ["population"]
    assert not len(view.of(STATIC))
    curve = hypervolume.table(view)
    assert curve["cpu_seconds"].tolist() == [10, 20, 30, 40, 50]
    assert (np.diff(curve["hypervolume"]) >= 0).all()
    assert curve["hypervolume"].iloc[-1] == pytest.approx(1.0)
    (axis,) = hypervolume.draw(view).axes
    assert len(axis.lines[0].get_xdata()) == 5


def test_runs_that_stopped_at_a_rung_are_reported(searched):
    table = analysis.load(searched)
    assert (table["status"] == "paused").sum() == 2
    said = remarks.remarks(view_of(searched), [])
    assert any("2 of 7 runs stopped at a rung" in text for text in said)
    assert not any("left no result" in text for text in said)


def test_only_searches_have_a_curve(searched):
    names = [each.name for each in figure_list.of_a_study(view_of(searched))]
    assert names[0] == "course of the search"
    (searched / "search.json").unlink()
    view = view_of(searched)
    assert "course of the search" not in [each.name for each in figure_list.of_a_study(view)]
    with pytest.raises(UnavailableError, match="not a search"):
        hypervolume.table(view)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        "3",
        '{"run": "a"}',
        '{"run": "a", "cpu_seconds": "many"}',
        '{"run": "a", "cpu_seconds": NaN}',
        '{"run": "a", "cpu_seconds": -1}',
        "[" * 100_000,
    ],
)
def test_invalid_lines_are_skipped(tmp_path, line):
    good = {"run": "b", "event": "finished", "seconds": 1.0, "cpu_seconds": 3.0}
    log(tmp_path, [good, line, good])
    own, spent = cpu_times(tmp_path)
    assert spent == own == {"b": 6.0}


def test_missing_or_unreadable_log_is_ignored(tmp_path):
    log(tmp_path, [])
    (tmp_path / "run_log.jsonl").unlink()
    assert cpu_times(tmp_path) == ({}, {})
    (tmp_path / "run_log.jsonl").symlink_to("/dev/zero")
    assert cpu_times(tmp_path) == ({}, {})


@pytest.mark.parametrize("damaged", [False, True])
def test_steps_of_runs_that_stopped_at_a_rung_count_in_the_budget(searched, damaged):
    rungs = list(searched.glob("runs/*/rungs"))
    assert len(rungs) == 2
    for own in rungs:
        for asked in (100, 200):
            (own / f"{asked}.json").write_text(json.dumps({"steps": asked + 5}))
        if damaged:
            (own / "300.json").write_text("{")
    view = view_of(searched)
    assert (view.table["status"] == "paused").sum() == 2
    (row,) = tables.budgets(view).to_dict("records")
    assert row["steps"] == 5 * 600 + 2 * 205
    # They do not count in the cost or the length of a run.
    assert tables.sources([view])["steps"].tolist() == [600]
    manifests = searched.glob("runs/*/manifest.json")
    for path in manifests:
        told = json.loads(path.read_text())
        told["sessions"] = [{"throughput": {"steps": 600, "steps_per_second": 10.0}}]
        path.write_text(json.dumps(told))
    (curve,) = view_of(searched).search_curves("loss", np.ones(2)).values()
    assert curve["cost"].tolist() == [1, 2, 3, 4, 5]


def test_steps_before_a_branch_are_not_counted_again(searched):
    """One branch finished, another one stopped at a rung."""
    (stopped, _), own = sorted(searched.glob("runs/*/rungs")), Run(weight=0.9).hash
    (stopped / "200.json").write_text(json.dumps({"steps": 200}))
    for folder, first in ((stopped.parent, 150), (searched / "runs" / own, 400)):
        runs = [{"run": "a", "first_step": 0}, {"run": folder.name, "first_step": first}]
        (folder / "lineage.json").write_text(json.dumps({"runs": runs}))
    (row,) = tables.budgets(view_of(searched)).to_dict("records")
    assert row["steps"] == 4 * 600 + 200 + 50


def test_budgets_without_static_weights_have_no_row_for_them(tmp_path):
    runs = [Run("pcgrad", "PCGrad", weight=weight) for weight in WEIGHTS]
    folder = write_study(tmp_path / "study", runs)
    assert tables.budgets(view_of(folder))["method"].tolist() == ["pcgrad"]
    page = analysis.report([folder], tmp_path / "report").read_text()
    assert "1 method on the tasks left, right" in page


def test_decreasing_curve_is_within_the_limits(searched):
    """Validation prefers the last model to all others, which are better in test."""
    path = searched / "runs" / Run(weight=WEIGHTS[-1]).hash / "result.json"
    result = json.loads(path.read_text())
    for split, loss in (("validation", 0.1), ("test", 0.95)):
        for task in result[split]["tasks"].values():
            task["loss"] = loss
    path.write_text(json.dumps(result))
    view = view_of(searched)
    most = hypervolume.table(view)["hypervolume"].max()
    assert most > 1.1
    (axis,) = hypervolume.draw(view).axes
    assert axis.get_ylim()[1] > most
