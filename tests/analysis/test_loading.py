"""Studies as tables: whatever is in a folder, there is a row, and it says why."""

import json
import shutil

import numpy as np
import pytest

from mtk import analysis
from tests.analysis.synthetic import Run, grid, write_run, write_study


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", grid(seeds=(0, 1)))


def test_every_value_comes_back(tmp_path):
    folder = write_study(tmp_path / "study", grid(seeds=(0, 1)))
    table = analysis.load(folder)
    assert len(table) == len(grid(seeds=(0, 1)))
    assert set(table["status"]) == {"finished"}
    for row in table.to_dict("records"):
        result = json.loads((folder / "runs" / row["run"] / "result.json").read_text())
        assert row["selected_step"] == result["selected_step"]
        for split in ("train", "validation", "test"):
            for task, values in result[split]["tasks"].items():
                for name, value in values.items():
                    assert row[f"{split}/{task}/{name}"] == value
        assert row["run"].split("-")[2] == f"{row['experiment.run.learning_rate']:g}"
        assert row["role"] == ("baseline" if row["method"] == "static_weights" else "method")


def test_several_studies_stand_in_one_table_and_keep_their_names(study, tmp_path):
    other = write_study(tmp_path / "other", grid(weights=(0.5,)), name="synthetic")
    table = analysis.load([study, other])
    assert list(table["study"].unique()) == ["synthetic", "synthetic (2)"]
    assert len(table) == len(analysis.load(study)) + len(analysis.load(other))


def test_runs_that_differ_in_the_seed_are_one_configuration(study):
    found = analysis.configurations(analysis.load(study))
    assert len(found) == len(grid())
    assert set(found["seeds"]) == {2}
    table = analysis.load(study)
    own = table[(table["method"] == "mgda") & (table["experiment.run.learning_rate"] == 0.1)]
    mean = found[(found["method"] == "mgda") & (found["experiment.run.learning_rate"] == 0.1)]
    column = "test/left/loss"
    assert mean[column].item() == pytest.approx(own[column].mean())


def test_without_a_list_methods_are_called_by_their_combiner(study):
    (study / "study.json").unlink()
    table = analysis.load(study)
    assert set(table["method"]) == {"StaticWeights", "PCGrad", "MGDA", "GradNorm"}
    assert set(table["seed"]) == {0, 1}
    assert (table.loc[table["method"] == "StaticWeights", "role"] == "baseline").all()


def damage(folder, kind):
    """Damages a run folder, and returns the status and a part of the reason to expect."""
    result = folder / "result.json"
    content = json.loads(result.read_text())
    if kind == "no folder":
        shutil.rmtree(folder)
        return "missing", "no such run folder"
    if kind == "empty folder":
        shutil.rmtree(folder)
        folder.mkdir()
        return "unfinished", "no result.json"
    if kind == "no result":
        result.unlink()
        return "unfinished", "no result.json"
    if kind == "failed":
        result.unlink()
        (folder / "error.txt").write_text("Traceback\nMemoryError: too much\n")
        return "failed", "MemoryError: too much"
    if kind == "torn":
        result.write_text(result.read_text()[:50])
        return "damaged", "result.json is no JSON"
    if kind == "no configuration":
        (folder / "operative_config.gin").unlink()
        return "damaged", "operative_config.gin is missing"
    if kind == "binary":
        result.write_bytes(bytes(range(128, 256)))
        return "damaged", "result.json is no JSON"
    changes, reason = {
        "a list": ([], "no JSON object"),
        "no status": ({**content, "status": "?"}, "status '?'"),
        "no tasks": ({**content, "test": {"loss": 1.0}}, "no metrics by task for test"),
        "a text": ({**content, "test": {"tasks": {"left": {"loss": "low"}}}}, "is no number"),
        "tasks in a list": ({**content, "test": {"tasks": [1]}}, "no metrics by task"),
    }[kind]
    result.write_text(json.dumps(changes))
    return "damaged", reason


@pytest.mark.parametrize(
    "kind",
    ["no folder", "empty folder", "no result", "failed", "torn", "no configuration", "binary",
     "a list", "no status", "no tasks", "a text", "tasks in a list"],
)  # fmt: skip
def test_a_damaged_run_is_a_row_with_a_reason(study, kind):
    folder = sorted((study / "runs").iterdir())[3]
    status, reason = damage(folder, kind)
    table = analysis.load(study)
    assert len(table) == len(grid(seeds=(0, 1)))
    row = table[table["run"] == folder.name].iloc[0]
    assert (row["status"], reason in row["reason"]) == (status, True), row["reason"]
    assert (table["status"] == "finished").sum() == len(table) - 1


def test_a_missing_task_makes_a_run_incomplete_and_says_which(tmp_path):
    runs = [Run(weight=w) for w in (0.2, 0.4, 0.6, 0.8)]
    runs += [Run("pcgrad", "PCGrad", rate=rate, tasks=("left",)) for rate in (0.1, 0.2)]
    table = analysis.load(write_study(tmp_path / "study", runs))
    half = table[table["method"] == "pcgrad"]
    assert set(half["status"]) == {"incomplete"}
    assert "right" in half["reason"].iloc[0]
    assert (table["status"] == "finished").sum() == 4


def test_a_value_that_is_no_number_makes_a_run_incomplete(study):
    folder = sorted((study / "runs").iterdir())[0]
    content = json.loads((folder / "result.json").read_text())
    content["test"]["tasks"]["right"]["accuracy"] = None
    (folder / "result.json").write_text(json.dumps(content))
    row = analysis.load(study).set_index("run").loc[folder.name]
    assert row["status"] == "incomplete"
    assert row["reason"] == "no value of test/right/accuracy"


def test_a_configuration_that_diverged_once_is_not_selected(tmp_path):
    runs = grid(seeds=(0, 1))
    lost = next(run for run in runs if run.method == "mgda" and run.seed == 1)
    lost.status = "diverged"
    found = analysis.configurations(analysis.load(write_study(tmp_path / "study", runs)))
    row = found[(found["method"] == "mgda") & (found["diverged"] == 1)]
    assert row["seeds"].tolist() == [1]
    assert not row["comparable"].item()
    assert found["comparable"].sum() == len(found) - 1


def test_what_is_no_study_is_refused(tmp_path):
    with pytest.raises(analysis.StudyError, match="at least one study"):
        analysis.load([])
    with pytest.raises(analysis.StudyError, match="neither a study.json nor a folder runs"):
        analysis.load(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(analysis.StudyError, match="has no runs"):
        analysis.load(tmp_path)
    (tmp_path / "study.json").write_text('{"runs": ')
    with pytest.raises(analysis.StudyError, match="is damaged"):
        analysis.load(tmp_path)


def test_a_run_that_the_list_does_not_know_is_read_too(study):
    write_run(study / "runs" / "extra", Run("pcgrad", "PCGrad", rate=0.3))
    assert "extra" in set(analysis.load(study)["run"])


def test_settings_of_two_sizes_are_two_views(tmp_path):
    table = analysis.load(write_study(tmp_path / "study", grid(layers=(3, 6))))
    found = analysis.views(table)
    assert [view.title for view in found] == [
        "synthetic (num_layers 3)",
        "synthetic (num_layers 6)",
    ]
    assert sum(len(view.table) for view in found) == len(table)


def test_throughput_is_that_of_the_longest_session(study):
    folder = sorted((study / "runs").iterdir())[0]
    sessions = [
        {"throughput": {"steps": 5, "steps_per_second": 99.0}},
        {"first_step": 5},
        {"throughput": {"steps": 50, "steps_per_second": 12.5}},
        {"throughput": {"steps": 70, "steps_per_second": None}},
    ]
    (folder / "manifest.json").write_text(json.dumps({"seed": 0, "sessions": sessions[:3]}))
    table = analysis.load(study).set_index("run")
    assert table.loc[folder.name, "steps_per_second"] == 12.5
    assert np.isnan(table["steps_per_second"].drop(folder.name)).all()


@pytest.fixture
def large(tmp_path):
    """2,000 run folders; the time of the test itself is that of loading them."""
    runs = [Run(weight=round(0.0005 * n, 4)) for n in range(1, 2000)]
    return write_study(tmp_path / "study", [*runs, Run("mgda", "MGDA")])


@pytest.mark.slow
def test_two_thousand_folders(large):
    table = analysis.load(large)
    assert len(table) == 2000
    assert (table["status"] == "finished").all()
