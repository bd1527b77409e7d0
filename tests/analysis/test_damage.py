"""Damaged run folders: each becomes a row with a reason, and the other runs are read."""

import contextlib
import functools
import hashlib
import json
import operator
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mtk import analysis
from mtk.analysis import overview
from mtk.errors import StudyError
from mtk.study.folder import StudyFolder
from tests.analysis.synthetic import Run, grid, record, write_study
from tests.quick import noted

METRICS = {"accuracy": 0.5, "loss": 1.0}
RUN = "checkpoints/run.json"


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path / "study", grid(rates=(0.1,)))


def replace(name, content):
    """Returns a function that replaces the content of a file of the run."""

    def damage(folder):
        (folder / name).unlink()
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            (folder / name).write_text(content)

    return damage


def result(**changes):
    """Returns a function that changes entries of result.json."""

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
    return replace("metrics.jsonl", json.dumps(line) + "\n")


def session(**content):
    return replace("manifest.json", json.dumps({"seed": 0, "sessions": [content]}))


DAMAGES = {
    "no folder": (shutil.rmtree, "pending", "it has not started, or the folder was removed"),
    "no result": (replace("result.json", None), "unfinished", "no result.json"),
    "torn": (replace("result.json", '{"status": "fin'), "damaged", "result.json is not valid JSON"),
    "binary": (replace("result.json", b"\xff\xfe"), "damaged", "result.json is not a text file"),
    "nested": (replace("result.json", "[" * 100_000), "damaged", "result.json is not valid JSON"),
    "a folder": (folder_instead("result.json"), "damaged", "is a folder; expected a file"),
    "a list": (replace("result.json", "[]"), "damaged", "does not contain a JSON object"),
    "no status": (result(status=None), "damaged", "has no status"),
    "another status": (result(status="?"), "damaged", "'status' is '?'"),
    "steps": (result(steps="many"), "damaged", "'steps' is 'many'; expected an integer"),
    "selected step": (result(selected_step=True), "damaged", "'selected_step' is True"),
    "huge steps": (result(steps=10**400), "damaged", "'steps' is 1000"),
    "endless steps": (result(selected_step=float("inf")), "damaged", "'selected_step' is inf"),
    "huge loss": (
        result(test={"tasks": {"left": {"loss": 10**400}}}), "damaged", "'loss' is 1000"
    ),
    "digits": (replace("result.json", "1" * 5000), "damaged", "result.json is not valid JSON"),
    "parameters": (result(parameters=[1]), "damaged", "'parameters' is [1]"),
    "a split": (result(test=[1]), "damaged", "'test' is [1]; expected an object"),
    "no tasks": (result(test={"loss": 1.0}), "damaged", "metrics by task are missing"),
    "tasks in a list": (result(test={"tasks": [1]}), "damaged", "'tasks' is [1]"),
    "a task": (result(test={"tasks": {"left": 5}}), "damaged", "'left' is 5"),
    "a text": (
        result(test={"tasks": {"left": {"loss": "low"}}}),
        "damaged",
        "result.json, test, tasks, left: 'loss' is 'low'; expected a finite number",
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
    "no description": (replace(RUN, None), "damaged", "which holds its parameters, is missing"),
    "empty description": (replace(RUN, ""), "damaged", "run.json is not valid JSON"),
    "binary description": (replace(RUN, b"\xff"), "damaged", "run.json is not a text file"),
    "description folder": (folder_instead(RUN), "damaged", "is a folder"),
    "settings": (lambda folder: record(folder, f=5), "damaged", "'f' is 5; expected a string"),
    "weight": (weight(step=1, value="abc"), "damaged", "metrics.jsonl: 'value' is 'abc'"),
    "step": (weight(step=[1], value=0.5), "damaged", "'step' is [1]; expected an integer"),
    "another log": (
        result(record=hashlib.sha256(b"").hexdigest()), "damaged", "metrics.jsonl was changed after"
    ),
    "log folder": (folder_instead("metrics.jsonl"), "damaged", "is a folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_run_becomes_a_row_with_a_reason(study, kind):
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
def test_damaged_manifest_loses_only_its_own_columns(study, content):
    folder = sorted((study / "runs").iterdir())[3]
    (study / "study.json").unlink()  # The list contains the seeds, too.
    before = analysis.load(study)
    session(throughput={"steps": 100, "steps_per_second": 5.0})(folder)
    assert analysis.load(study)["steps_per_second"].notna().sum() == 1
    replace("manifest.json", content)(folder)
    told = ["static", "task_weights", "directions", "parameters"]
    pd.testing.assert_frame_equal(
        analysis.load(study).drop(columns=told), before.drop(columns=told)
    )


def described(folder, **changes):
    """Adds the files that a run writes before its first step."""
    (folder / "operative_config.gin").write_text("f.x = 1\n")
    digest = hashlib.sha256((folder / "operative_config.gin").read_bytes()).hexdigest()
    about = json.loads((folder / RUN).read_text())
    about |= {"hash": "abc", "files": {"operative_config.gin": digest[:16]}, **changes}
    (folder / RUN).write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (result(run="another"), "result.json belongs to the run 'another'"),
        (result(run=None), "result.json belongs to the run None"),
        (replace("operative_config.gin", "f.x = 2\n"), "operative_config.gin was changed"),
        (lambda folder: described(folder, files=5), "'files' is 5"),
    ],
)
def test_files_of_another_run_are_detected(study, damage, reason):
    folders = sorted((study / "runs").iterdir())
    for folder in folders[:2]:
        result(run="abc")(folder)
        described(folder)
    assert set(analysis.load(study)["status"]) == {"finished"}
    damage(folders[0])
    table = analysis.load(study).set_index("run")
    assert reason in table.loc[folders[0].name, "reason"]
    assert (table["status"] == "damaged").sum() == 1


def test_failed_run_has_a_reason_and_does_not_split_the_study(study):
    run = json.loads((study / "study.json").read_text())["runs"][0]["hash"]
    for folder in (study / "runs").iterdir():
        record(folder, **{"synthetic.Synthetic.channels": "(4, 4)"})
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
        (b'{"runs": ', "is not valid JSON"),
        (b"\xff\xfe", "is not a text file"),
        (b"[]", "does not contain a JSON object"),
        (b'{"runs": 5}', "'runs' is 5; expected a list"),
        (b'{"name": 5, "runs": []}', "'name' is 5; expected a string"),
        (b'{"runs": [1]}', "runs: '0' is 1; expected an object"),
        (b'{"runs": [null]}', "runs: '0' is None"),
        (b'{"runs": [{}]}', "run 0 has no 'hash'"),
    ],
)
def test_damaged_list_raises_with_its_path(study, content, reason):
    (study / "study.json").write_bytes(content)
    with pytest.raises(analysis.StudyError) as raised:
        analysis.load(study)
    assert str(study / "study.json") in str(raised.value)
    assert reason in str(raised.value)


HASH = "0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    [5, "", "a", [], "..", "../../../outside", "/outside", f"../{HASH}", f"{HASH}/..",
     HASH[1:], f"{HASH}0", HASH.upper(), f"{HASH}\n", "\u0665" * 16],
)  # fmt: skip
def test_hash_must_be_sixteen_hexadecimal_digits(study, name):
    content = {"runs": [{"hash": HASH}, {"hash": name}]}
    (study / "study.json").write_text(json.dumps(content))
    with pytest.raises(analysis.StudyError, match="expected 16 hexadecimal digits") as raised:
        analysis.load(study)
    assert str(study / "study.json") in str(raised.value)
    assert "runs, 1: 'hash' is" in str(raised.value)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"seed": "zero"}, "'seed' is 'zero'; expected an integer"),
        ({"seed": 10**400}, "'seed' is 1000"),
        ({"method": 5}, "'method' is 5; expected a string"),
        ({"role": "boss"}, "'role' is 'boss'"),
        ({"bindings": "abc"}, "'bindings' is 'abc'"),
        ({"bindings": [1]}, "'bindings' is [1]"),
        (
            {"bindings": {"f.x": nested(900)}},
            "expected gin statements, or values nested at most 50 deep",
        ),
    ],
)
def test_invalid_list_entry_affects_only_its_run(study, said, reason):
    content = json.loads((study / "study.json").read_text())
    content["runs"][3].update(said)
    (study / "study.json").write_text(json.dumps(content))
    table = analysis.load(study)
    row = table[table["run"] == content["runs"][3]["hash"]].iloc[0]
    assert (row["status"], reason in row["reason"]) == ("damaged", True), row["reason"]
    assert (table["status"] == "finished").sum() == len(table) - 1
    assert len(analysis.views(table)) == 1


FILES = ["result.json", "manifest.json", RUN, "metrics.jsonl"]


def pipe_instead(path):
    path.unlink()
    os.mkfifo(path)


def link_instead(path):
    """The target is intact, but outside of the study."""
    outside = next(p for p in path.parents if (p / "study.json").exists()).parent / path.name
    path.rename(outside)
    path.symlink_to(outside)


def dangling_instead(path):
    path.unlink()
    path.symlink_to("/nowhere")


def device_instead(path):
    path.unlink()
    path.symlink_to("/dev/zero")


def huge_instead(path):
    """A sparse file, which takes no space on disk."""
    with path.open("wb") as file:
        file.truncate(1 << 41)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (pipe_instead, "is a device or a pipe"),
        (link_instead, "is a symbolic link"),
        (dangling_instead, "is a symbolic link"),
        (device_instead, "is a symbolic link"),
        (huge_instead, "has 2199023255552 bytes"),
    ],
)
def test_only_regular_files_of_bounded_size_are_read(study, name, change, reason):
    folder = sorted((study / "runs").iterdir())[3]
    change(folder / name)
    table = analysis.load(study)
    row = table[table["run"] == folder.name].iloc[0]
    if name == "manifest.json":  # A run is valid without it.
        assert row["status"] == "finished"
        return
    assert (row["status"], f"{Path(name).name} {reason}" in row["reason"]) == ("damaged", True), (
        row["reason"]
    )
    assert (table["status"] == "finished").sum() == len(table) - 1


def test_too_long_line_of_the_log_is_damage(study):
    folder = sorted((study / "runs").iterdir())[3]
    with (folder / "metrics.jsonl").open("ab") as file:
        file.truncate(1 << 24)
    row = analysis.load(study).set_index("run").loc[folder.name]
    assert (row["status"], row["reason"]) == (
        "damaged",
        "metrics.jsonl has a line of more than 1048576 bytes",
    )


@pytest.mark.parametrize("change", [pipe_instead, link_instead, device_instead, huge_instead])
def test_list_that_is_not_a_regular_file_raises(study, change):
    path = study / "runs" / "x" / "study.json"
    path.parent.mkdir()
    (study / "study.json").rename(path)
    change(path)
    path.rename(study / "study.json")
    with pytest.raises(analysis.StudyError, match=r"study\.json' is damaged"):
        analysis.load(study)


def test_symlinked_run_folders_are_not_followed(study):
    folder = sorted((study / "runs").iterdir())[3]
    folder.rename(study.parent / "outside")
    folder.symlink_to(study.parent / "outside")
    row = analysis.load(study).set_index("run").loc[folder.name]
    assert (row["status"], "is a symbolic link" in row["reason"]) == ("damaged", True)
    (study / "runs").rename(study.parent / "runs")
    (study / "runs").symlink_to(study.parent / "runs")
    with pytest.raises(analysis.StudyError, match="is a symbolic link"):
        analysis.load(study)


@pytest.mark.parametrize(
    "value", [1e39, -1e300, 10**60, True, [], {}, "1", {"a": nested(900)}, nested(900)]
)
@pytest.mark.parametrize("place", [("test",), ("test", "tasks"), ("test", "tasks", "left", "loss")])
def test_invalid_value_damages_only_its_run(study, place, value):
    folder = sorted((study / "runs").iterdir())[3]
    content = json.loads((folder / "result.json").read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (folder / "result.json").write_text(json.dumps(content))
    row = analysis.load(study).set_index("run").loc[folder.name]
    assert row["status"] in ("damaged", "incomplete")
    assert len(row["reason"]) <= 500


def test_folder_with_an_undecodable_name_is_a_row(study, tmp_path):
    (study / "runs" / "\udcff\x1b[2J").mkdir()
    row = analysis.load(study).iloc[-1]
    assert (row["run"], row["status"]) == ("\\udcff\\x1b[2J", "unfinished")
    assert row["path"].encode().endswith(b"runs/\\xff\x1b[2J")


def places(value, path=()):
    """Yields the path of each value in a JSON object."""
    yield path
    items = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else items:
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("new", [None, [None], {"a": None}], ids=str)
def test_null_in_place_of_any_value_does_not_crash(tmp_path, new):
    study = write_study(tmp_path / "study", [Run()])
    run = next((study / "runs").iterdir())
    changed = {"loss": {"from": "1", "to": "2"}}
    lineage = {"runs": [{"run": run.name, "first_step": 1, "changed": changed}]}
    (run / "lineage.json").write_text(json.dumps(lineage))
    names = ("result.json", "manifest.json", RUN, "lineage.json")
    for file in (study / "study.json", *(run / name for name in names)):
        content = file.read_text()
        for *above, key in filter(None, places(json.loads(content))):
            changed = json.loads(content)
            functools.reduce(operator.getitem, above, changed)[key] = new
            file.write_text(json.dumps(changed))
            with noted(file=file.name, at=[*above, key]), contextlib.suppress(StudyError):
                assert len(overview.runs(study)) > 1
        file.write_text(content)


def test_run_with_a_missing_task_is_incomplete(tmp_path):
    runs = [Run(weight=w) for w in (0.2, 0.4, 0.6, 0.8)]
    runs += [Run("pcgrad", "PCGrad", rate=rate, tasks=("left",)) for rate in (0.1, 0.2)]
    table = analysis.load(write_study(tmp_path / "study", runs))
    half = table[table["method"] == "pcgrad"]
    assert set(half["status"]) == {"incomplete"}
    assert "right" in half["reason"].iloc[0]
    assert (table["status"] == "finished").sum() == 4


def test_metric_of_few_runs_does_not_make_others_incomplete(study):
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


def test_runs_without_validation_are_incomplete(study):
    for path in (study / "runs").glob("*/result.json"):
        path.write_text(path.read_text().replace('"validation"', '"valid"'))
    table = analysis.load(study)
    assert set(table["status"]) == {"incomplete"}
    assert set(table["reason"]) == {
        "no metric has values on both validation and test in half of the runs"
    }
