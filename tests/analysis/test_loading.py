"""Loading studies as tables."""

import json

import numpy as np
import pytest

from mtk import analysis
from tests.analysis.synthetic import Run, grid, write_run, write_study


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", grid(seeds=(0, 1)))


def test_all_values_are_loaded(tmp_path):
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
        about = (folder / "runs" / row["run"] / "checkpoints" / "run.json").read_text()
        rate = json.loads(about)["settings"]["experiment.Optimization.learning_rate"]
        assert float(rate) == row["experiment.Optimization.learning_rate"]
        assert row["role"] == ("baseline" if row["method"] == "static_weights" else "method")


def test_several_studies_have_unique_names_in_one_table(study, tmp_path):
    other = write_study(tmp_path / "other", grid(weights=(0.5,)), name="synthetic")
    table = analysis.load([study, other])
    assert list(table["study"].unique()) == ["synthetic", "synthetic (2)"]
    assert len(table) == len(analysis.load(study)) + len(analysis.load(other))


def test_configurations_average_over_seeds(study):
    found = analysis.configurations(analysis.load(study))
    assert len(found) == len(grid())
    assert set(found["seeds"]) == {2}
    table = analysis.load(study)
    own = table[
        (table["method"] == "mgda") & (table["experiment.Optimization.learning_rate"] == 0.1)
    ]
    mean = found[
        (found["method"] == "mgda") & (found["experiment.Optimization.learning_rate"] == 0.1)
    ]
    column = "test/left/loss"
    assert mean[column].item() == pytest.approx(own[column].mean())


def test_methods_are_named_by_combiner_without_a_list(study):
    (study / "study.json").unlink()
    table = analysis.load(study)
    assert set(table["method"]) == {"StaticWeights", "PCGrad", "MGDA", "GradNorm"}
    assert set(table["seed"]) == {0, 1}
    assert (table.loc[table["method"] == "StaticWeights", "role"] == "baseline").all()


def test_configuration_that_diverged_once_is_not_selected(tmp_path):
    runs = grid(seeds=(0, 1))
    lost = next(run for run in runs if run.method == "mgda" and run.seed == 1)
    lost.status = "diverged"
    found = analysis.configurations(analysis.load(write_study(tmp_path / "study", runs)))
    row = found[(found["method"] == "mgda") & (found["diverged"] == 1)]
    assert row["seeds"].tolist() == [1]
    assert not row["comparable"].item()
    assert found["comparable"].sum() == len(found) - 1


def test_invalid_study_folders_raise(tmp_path):
    with pytest.raises(analysis.StudyError, match="at least one study"):
        analysis.load([])
    with pytest.raises(analysis.StudyError, match="neither a study.json nor a folder runs"):
        analysis.load(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(analysis.StudyError, match="has no runs"):
        analysis.load(tmp_path)


def test_runs_missing_in_the_list_are_read(study):
    write_run(study / "runs" / "extra", Run("pcgrad", "PCGrad", rate=0.3))
    assert "extra" in set(analysis.load(study)["run"])


def test_different_model_sizes_give_separate_views(tmp_path):
    table = analysis.load(write_study(tmp_path / "study", grid(layers=(3, 6))))
    found = analysis.views(table)
    assert [view.title for view in found] == [
        "synthetic (3,000 parameters)",
        "synthetic (6,000 parameters)",
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
    """2,000 run folders, as a fixture so that the test's duration is that of loading."""
    runs = [Run(weight=round(0.0005 * n, 4)) for n in range(1, 2000)]
    return write_study(tmp_path / "study", [*runs, Run("mgda", "MGDA")])


@pytest.mark.slow
def test_two_thousand_runs_are_loaded(large):
    table = analysis.load(large)
    assert len(table) == 2000
    assert (table["status"] == "finished").all()
