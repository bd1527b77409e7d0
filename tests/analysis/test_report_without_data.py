"""Reports on studies without the data of some figures: they state this, and show the rest."""

import json
import shutil

import pytest

from mtk import analysis
from mtk.analysis.figures import task_weights
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.reporting import contents, tables
from mtk.study.folder import StudyFolder
from tests.analysis.pages import Page, composed
from tests.analysis.synthetic import grid, write_study

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def unrendered(monkeypatch):
    monkeypatch.setattr(contents, "render", composed)


def few(**changes):
    return grid(rates=(0.1, 1.0), weights=(0.3, 0.5, 0.7), **changes)


def page_of(tmp_path, change, runs=None):
    """Returns the page on a study after a change of every run folder."""
    study = write_study(tmp_path / "study", runs or few())
    for folder in (study / "runs").iterdir():
        change(folder)
    return Page(analysis.report([study], tmp_path / "out"))


def edited(change):
    def edit(folder):
        content = json.loads((folder / "result.json").read_text())
        change(content)
        (folder / "result.json").write_text(json.dumps(content))

    return edit


def without(*names):
    return edited(lambda content: [content.pop(name, None) for name in names])


def fail(folder):
    (folder / "result.json").unlink()
    StudyFolder(folder.parent.parent).fail(folder.name, "too big")


@edited
def diverge_before_the_first_evaluation(content):
    for name in (*SPLITS, "selected_step"):
        content.pop(name)
    content.update(status="diverged", task="left")


def drop(*metrics):
    """Returns a change that removes metrics from all splits."""

    @edited
    def change(content):
        for split in SPLITS:
            for task in content[split]["tasks"].values():
                for name in metrics:
                    task.pop(name)

    return change


@pytest.mark.parametrize(
    ("change", "ends"),
    [
        (shutil.rmtree, "12 pending"),
        (lambda folder: (folder / "result.json").unlink(), "12 unfinished"),
        (fail, "12 failed"),
        (diverge_before_the_first_evaluation, "12 diverged"),
        (without("validation"), "12 incomplete"),
        (without("test"), "12 incomplete"),
        (drop("loss", "accuracy"), "12 incomplete"),
    ],
)
def test_study_without_finished_runs(tmp_path, change, ends):
    page = page_of(tmp_path, change)
    assert f"12 runs: {ends}." in page.words
    assert f"Verdicts, figures and tables: no run can be compared ({ends})" in page.words


@pytest.mark.slow
def test_pending_setting_does_not_hide_the_finished_one(tmp_path):
    study = write_study(tmp_path / "study", few(layers=(3, 6)))
    content = json.loads((study / "study.json").read_text())
    sizes = {run.hash: run.layers for run in few(layers=(3, 6))}
    for run in content["runs"]:
        layers = sizes[run["hash"]]
        run["bindings"] = {"synthetic.Synthetic.num_layers": layers}
        if layers == 6:
            shutil.rmtree(study / "runs" / run["hash"])
    (study / "study.json").write_text(json.dumps(content))
    page = Page(analysis.report([study], tmp_path / "out"))
    assert "12 pending" in page.words
    assert (tmp_path / "out/tables/verdict_on_the_front_of_loss_synthetic.csv").exists()


def test_results_without_a_loss(tmp_path):
    page = page_of(tmp_path, drop("loss"))
    assert "On the front of accuracy" in page.words
    assert "Fronts of the losses; Fronts of loss and metric" in page.words
    # Each reason is stated once, after all figures that it applies to.
    assert page.words.count("no run has the metric 'loss' for every task") == 1


@pytest.mark.slow
def test_results_without_training_metrics(tmp_path):
    page = page_of(tmp_path, without("train"))
    assert "no run has values of 'accuracy' for train" in page.words
    # The front of the losses on test needs no training values.
    assert "no run has values of 'loss' for train" not in page.words


@pytest.mark.slow
def test_every_configuration_has_a_diverged_run(tmp_path):
    runs = few(seeds=(0, 1))
    for run in runs:
        run.status = "diverged" if run.seed else "finished"
    page = page_of(tmp_path, lambda folder: None, runs)
    assert "No run of static weights can be compared (6 finished, 6 diverged)." in page.words


@pytest.mark.parametrize("log", [b'"weight" \xff\n', None])
def test_runs_without_weights(tmp_path, log):
    study = write_study(tmp_path / "study", few())
    for path in (study / "runs").glob("*/metrics.jsonl"):
        path.unlink()
        if log:
            path.write_bytes(log)
    (view,) = analysis.views(analysis.load(study))
    assert view.found["comparable"].all()
    with pytest.raises(UnavailableError, match="no method recorded task weights over time"):
        task_weights.draw(view)


def test_metrics_of_few_runs_are_listed(tmp_path):
    study = write_study(tmp_path / "study", few())
    mgda = [run.hash for run in few() if run.method == "mgda"]
    for path in (study / "runs" / run / "result.json" for run in mgda):
        content = json.loads(path.read_text())
        content["test"]["tasks"]["left"]["foo"] = 0.5
        path.write_text(json.dumps(content))
    (row,) = tables.left_out(analysis.load(study)).to_dict("records")
    assert (row["metric"], row["runs"], row["test"]) == ("left/foo", 12, 2)
