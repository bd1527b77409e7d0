"""Folders that a crash or a hand has damaged: a row with a reason, and the rest is read."""

import hashlib
import json
import shutil

import pandas as pd
import pytest

from mtk import analysis
from mtk.study.folder import StudyFolder
from tests.analysis.synthetic import Run, grid, write_study

METRICS = {"accuracy": 0.5, "loss": 1.0}


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", grid(rates=(0.1,)))


def other(name, content):
    """Writes something else into a file of the run."""

    def damage(folder):
        (folder / name).unlink()
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            (folder / name).write_text(content)

    return damage


def result(**changes):
    """Changes entries of result.json."""

    def damage(folder):
        content = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps({**content, **changes}))

    return damage


def folder_instead(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def weight(**entry):
    line = {"split": "train", "name": "weight", "task": "left", **entry}
    return other("metrics.jsonl", json.dumps(line) + "\n")


def session(**content):
    return other("manifest.json", json.dumps({"seed": 0, "sessions": [content]}))


DAMAGES = {
    "no folder": (shutil.rmtree, "missing", "no such run folder"),
    "no result": (other("result.json", None), "unfinished", "no result.json"),
    "torn": (other("result.json", '{"status": "fin'), "damaged", "result.json is no JSON"),
    "binary": (other("result.json", b"\xff\xfe"), "damaged", "result.json is no text"),
    "nested": (other("result.json", "[" * 100_000), "damaged", "result.json is no JSON"),
    "a folder": (folder_instead("result.json"), "damaged", "cannot be read: Is a directory"),
    "a list": (other("result.json", "[]"), "damaged", "no JSON object"),
    "no status": (result(status="?"), "damaged", "status '?'"),
    "steps": (result(steps="many"), "damaged", "'steps' is 'many', a whole number was expected"),
    "selected step": (result(selected_step=True), "damaged", "'selected_step' is True"),
    "huge steps": (result(steps=10**400), "damaged", "'steps' is 1000"),
    "endless steps": (result(selected_step=float("inf")), "damaged", "'selected_step' is inf"),
    "huge loss": (
        result(test={"tasks": {"left": {"loss": 10**400}}}), "damaged", "'loss' is 1000"
    ),
    "digits": (other("result.json", "1" * 5000), "damaged", "result.json is no JSON"),
    "parameters": (result(parameters=[1]), "damaged", "'parameters' is [1]"),
    "a split": (result(test=[1]), "damaged", "'test' is [1], an object was expected"),
    "no tasks": (result(test={"loss": 1.0}), "damaged", "no metrics by task"),
    "tasks in a list": (result(test={"tasks": [1]}), "damaged", "'tasks' is [1]"),
    "a task": (result(test={"tasks": {"left": 5}}), "damaged", "'left' is 5"),
    "a text": (
        result(test={"tasks": {"left": {"loss": "low"}}}),
        "damaged",
        "result.json, test, task 'left': 'loss' is 'low', a finite number was expected",
    ),
    "null": (
        result(test={"tasks": {"left": METRICS, "right": {"accuracy": None, "loss": 1.0}}}),
        "incomplete",
        "no value of test/right/accuracy",
    ),
    "NaN": (
        result(test={"tasks": {"left": METRICS, "right": {**METRICS, "loss": float("nan")}}}),
        "incomplete",
        "no value of test/right/loss",
    ),
    "infinite": (
        result(validation={"tasks": {"left": METRICS, "right": {**METRICS, "loss": -1e999}}}),
        "incomplete",
        "no value of validation/right/loss",
    ),
    "no test": (result(test=None), "incomplete", "no value of test/left/accuracy and 3 others"),
    "no configuration": (other("operative_config.gin", None), "damaged", "gin is missing"),
    "empty configuration": (other("operative_config.gin", ""), "damaged", "has no bindings"),
    "binary configuration": (other("operative_config.gin", b"\xff"), "damaged", "is no text"),
    "configuration folder": (folder_instead("operative_config.gin"), "damaged", "Is a directory"),
    "weight": (weight(step=1, value="abc"), "damaged", "metrics.jsonl: 'value' is 'abc'"),
    "step": (weight(step=[1], value=0.5), "damaged", "'step' is [1], a whole number"),
    "log folder": (folder_instead("metrics.jsonl"), "damaged", "Is a directory"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_run_is_a_row_with_a_reason(study, kind):
    damage, status, reason = DAMAGES[kind]
    folder = sorted((study / "runs").iterdir())[3]
    damage(folder)
    table = analysis.load(study)
    assert len(table) == len(grid(rates=(0.1,)))
    row = table[table["run"] == folder.name].iloc[0]
    assert (row["status"], reason in row["reason"]) == (status, True), row["reason"]
    assert (table["status"] == "finished").sum() == len(table) - 1
    (view,) = analysis.views(table)
    assert view.found["comparable"].sum() == len(table) - 1


BAD_MANIFESTS = ["", "{", "[]", '{"sessions": "x"}', '{"sessions": [1]}', '{"sessions": 5}']
BAD_MANIFESTS += [json.dumps({"seed": "x", "sessions": [{"throughput": 5}]})]
BAD_MANIFESTS += [json.dumps({"sessions": [{"throughput": {"steps": "a"}}]}), None, b"\xff"]


@pytest.mark.parametrize("content", BAD_MANIFESTS)
def test_a_damaged_manifest_costs_a_run_its_speed_only(study, content):
    folder = sorted((study / "runs").iterdir())[3]
    (study / "study.json").unlink()  # Which knows the seeds too.
    before = analysis.load(study)
    session(throughput={"steps": 100, "steps_per_second": 5.0})(folder)
    assert analysis.load(study)["steps_per_second"].notna().sum() == 1
    other("manifest.json", content)(folder)
    pd.testing.assert_frame_equal(analysis.load(study), before)


def described(folder, **changes):
    """Adds to a run what `mtk` writes of it before the first step."""
    path = folder / "checkpoints" / "run.json"
    path.parent.mkdir(exist_ok=True)
    digest = hashlib.sha256((folder / "operative_config.gin").read_bytes()).hexdigest()
    about = {"hash": "abc", "files": {"operative_config.gin": digest[:16]}, **changes}
    path.write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (result(run="another"), "result.json is of the run 'another'"),
        (result(run=None), "result.json is of the run None"),
        (lambda folder: write_rate(folder, "0.5"), "operative_config.gin was changed"),
        (lambda folder: described(folder, files=5), "'files' is 5"),
    ],
)
def test_files_of_another_run_are_found(study, damage, reason):
    folders = sorted((study / "runs").iterdir())
    for folder in folders[:2]:
        result(run="abc")(folder)
        described(folder)
    assert set(analysis.load(study)["status"]) == {"finished"}
    damage(folders[0])
    table = analysis.load(study).set_index("run")
    assert reason in table.loc[folders[0].name, "reason"]
    assert (table["status"] == "damaged").sum() == 1


def write_rate(folder, rate):
    path = folder / "operative_config.gin"
    path.write_text(path.read_text().replace("learning_rate = 0.1", f"learning_rate = {rate}"))


def test_a_failed_run_says_why_and_is_no_setting_of_its_own(study):
    run = json.loads((study / "study.json").read_text())["runs"][0]["hash"]
    for path in (study / "runs").glob("*/operative_config.gin"):
        path.write_text(path.read_text() + "synthetic.Synthetic.channels = (4, 4)\n")
    content = json.loads((study / "study.json").read_text())
    for entry in content["runs"]:
        entry["bindings"] = {"synthetic.Synthetic.channels": (4, 4)}
    (study / "study.json").write_text(json.dumps(content))
    shutil.rmtree(study / "runs" / run)
    StudyFolder(study).fail(run, "the batch is too big\n  in experiment.run")
    table = analysis.load(study)
    row = table.set_index("run").loc[run]
    assert (row["status"], row["reason"]) == ("failed", "the batch is too big in experiment.run")
    assert [view.title for view in analysis.views(table)] == ["synthetic"]
    (study / "runs" / run / "failed.json").write_text("{")
    assert analysis.load(study).set_index("run").loc[run, "status"] == "damaged"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"runs": ', "is no JSON"),
        (b"\xff\xfe", "is no text"),
        (b"[]", "no JSON object"),
        (b'{"runs": 5}', "'runs' is 5, a list was expected"),
        (b'{"name": 5, "runs": []}', "'name' is 5, a text was expected"),
        (b'{"runs": [1]}', "run 0 is 1, an object was expected"),
        (b'{"runs": [{"hash": "a"}, {"hash": 5}]}', "run 1: 'hash' is 5"),
        (b'{"runs": [{}]}', "run 0 has no 'hash'"),
        (b'{"runs": [{"hash": "a", "seed": "zero"}]}', "'seed' is 'zero'"),
        (b'{"runs": [{"hash": "a", "bindings": "abc"}]}', "'bindings' is 'abc'"),
        (b'{"runs": [{"hash": "a", "bindings": [1]}]}', "'bindings' is [1]"),
    ],
)
def test_a_damaged_list_is_an_error_that_names_the_file(study, content, reason):
    (study / "study.json").write_bytes(content)
    with pytest.raises(analysis.StudyError) as raised:
        analysis.load(study)
    assert str(study / "study.json") in str(raised.value)
    assert reason in str(raised.value)


def test_a_missing_task_makes_a_run_incomplete_and_says_which(tmp_path):
    runs = [Run(weight=w) for w in (0.2, 0.4, 0.6, 0.8)]
    runs += [Run("pcgrad", "PCGrad", rate=rate, tasks=("left",)) for rate in (0.1, 0.2)]
    table = analysis.load(write_study(tmp_path / "study", runs))
    half = table[table["method"] == "pcgrad"]
    assert set(half["status"]) == {"incomplete"}
    assert "right" in half["reason"].iloc[0]
    assert (table["status"] == "finished").sum() == 4


def test_a_metric_of_few_runs_disqualifies_nobody(study):
    path = sorted((study / "runs").iterdir())[0] / "result.json"
    content = json.loads(path.read_text())
    content["test"]["tasks"]["left"]["foo_error"] = 1.0
    content["test"]["tasks"]["left"]["bar_error"] = 1.0
    content["validation"]["tasks"]["left"]["bar_error"] = 1.0
    path.write_text(json.dumps(content))
    table = analysis.load(study)
    assert set(table["status"]) == {"finished"}
    assert table["test/left/foo_error"].notna().sum() == 1
    (view,) = analysis.views(table)
    assert list(view.spaces) == ["loss", "accuracy"]


def test_runs_without_validation_cannot_be_compared(study):
    for path in (study / "runs").glob("*/result.json"):
        path.write_text(path.read_text().replace('"validation"', '"valid"'))
    table = analysis.load(study)
    assert set(table["status"]) == {"incomplete"}
    assert set(table["reason"]) == {"no metric has values in validation and in test"}
