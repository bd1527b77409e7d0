"""Identification of the run in a folder whose files were changed. Nothing is trained."""

import hashlib
import json
import os

import numpy as np
import pytest

from mtk.checkpoints import Snapshot
from mtk.experiment import RunFolder
from mtk.experiment.run_description import RunDescription

SETTINGS = {"experiment.Training.seed": "0", "experiment.Optimization.learning_rate": "0.1"}
OTHERS = {**SETTINGS, "experiment.Optimization.learning_rate": "0.2"}
DATA = {"train": "10 examples, sha256 a", "test": "5 examples, sha256 b"}


def killed_run(path, settings=SETTINGS, data=DATA, steps=(4, 8)):
    """Creates a run folder with checkpoints, as a killed run leaves it."""
    with RunFolder.claim(path, settings) as folder:
        folder.open("asked = 1\n", "operative = 1\n", data)
        for number, step in enumerate(steps, 1):
            checkpoint = folder.checkpoints / f"{number:06}-step-{step}"
            checkpoint.mkdir()
            state = {"run": folder.description.as_dict()}
            Snapshot(step, {"0 v": np.zeros(3)}, state).save(checkpoint)
        folder.metrics.write_text("a line\n")
    return path


def resume(path, settings=SETTINGS, data=DATA):
    with RunFolder.claim(path, settings) as folder:
        folder.open("asked = 1\n", "operative = 1\n", data)
        return folder


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {path: path.read_bytes() for path in files}


def delete(*names):
    def change(run):
        for name in names:
            (run / "checkpoints" / name).unlink()

    return change


def damage_newest(run):
    delete("run.json", "lock")(run)
    (run / "checkpoints" / "000002-step-8" / "state.json").write_text("{}")


CHANGES = [
    lambda run: None,
    delete("run.json"),
    delete("lock"),
    delete("run.json", "lock"),
    damage_newest,
]


@pytest.mark.parametrize("change", CHANGES)
def test_run_is_identified_without_some_of_its_files(tmp_path, change):
    run = killed_run(tmp_path / "run")
    whole = content(run)
    change(run)
    before = content(run)
    for settings, data, culprit in ((OTHERS, DATA, "learning_rate"), (SETTINGS, {}, "test: 5")):
        with pytest.raises(ValueError, match=culprit):
            resume(run, settings, data)
        assert content(run) == before
    resume(run)
    assert (run / "checkpoints" / "lock").exists()
    kept = [path for path in whole if "000002" not in str(path)]
    assert {path: content(run)[path] for path in kept} == {path: whole[path] for path in kept}


@pytest.mark.parametrize("left", ["metrics.jsonl", "result.json"])
def test_files_of_an_unknown_run_are_not_overwritten(tmp_path, left):
    run = killed_run(tmp_path / "run", steps=())
    delete("run.json")(run)
    (run / "metrics.jsonl").rename(run / left)
    before = content(run)
    with pytest.raises(ValueError, match=rf"run\.json' is missing.*{left}"):
        resume(run)
    assert content(run) == before


def test_run_killed_before_its_first_line_starts_again(tmp_path):
    run = killed_run(tmp_path / "run", steps=())
    delete("run.json")(run)
    (run / "metrics.jsonl").unlink()
    assert resume(run, OTHERS).description.settings == OTHERS


@pytest.mark.parametrize("which", ["settings", "data"])
def test_description_of_another_run_is_refused(tmp_path, which):
    run = killed_run(tmp_path / "run")
    asked = {"settings": OTHERS} if which == "settings" else {"data": {"train": "other"}}
    other = killed_run(tmp_path / "other", **asked)
    foreign = (other / "checkpoints" / "run.json").read_text()
    (run / "checkpoints" / "run.json").write_text(foreign)
    before = content(run)
    with pytest.raises(ValueError, match="learning_rate" if which == "settings" else "train"):
        resume(run, **asked)
    assert content(run) == before


@pytest.mark.parametrize("name", ["config.gin", "operative_config.gin"])
@pytest.mark.parametrize("damage", [None, "", "asked = 2\n"])
def test_changed_configuration_files_are_restored(tmp_path, name, damage):
    run = killed_run(tmp_path / "run")
    before = content(run)
    if damage is None:
        (run / name).unlink()
        resume(run)
    else:
        (run / name).write_text(damage)
        with pytest.warns(UserWarning, match=f"{name}' was changed.*written again"):
            resume(run)
    assert content(run) == before


def test_configuration_file_is_kept_if_the_settings_are_equal(tmp_path):
    run = killed_run(tmp_path / "run")
    with RunFolder.claim(run, SETTINGS) as folder:
        folder.open("# In other words.\nasked = 1\n", "operative = 1\n", DATA)
    assert (run / "config.gin").read_text() == "asked = 1\n"


@pytest.mark.parametrize("change", [lambda run: None, delete("run.json")])
def test_result_of_another_run_is_refused(tmp_path, change):
    results = {}
    for name, settings in (("one", SETTINGS), ("other", OTHERS)):
        killed_run(tmp_path / name, settings)
        with RunFolder.claim(tmp_path / name, settings) as folder:
            folder.open("", "", DATA)
            results[name] = folder.close({"status": "finished"})
            assert results[name]["data"] == DATA
        with RunFolder.claim(tmp_path / name, settings) as folder:
            assert folder.read_result() == results[name]
    change(tmp_path / "one")
    (tmp_path / "one" / "result.json").write_text(json.dumps(results["other"]))
    with (
        RunFolder.claim(tmp_path / "one", SETTINGS) as folder,
        pytest.raises(ValueError, match=results["other"]["run"]),
    ):
        folder.read_result()


def test_finished_run_warns_of_a_changed_configuration_file(tmp_path):
    run = killed_run(tmp_path / "run")
    with RunFolder.claim(run, SETTINGS) as folder:
        folder.open("", "", DATA)
        folder.close({"status": "finished"})
    (run / "operative_config.gin").write_text("changed")
    with (
        RunFolder.claim(run, SETTINGS) as folder,
        pytest.warns(UserWarning, match=r"operative_config\.gin' was changed"),
    ):
        folder.read_result()


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("text", ["", "a lime\n", None])
def test_finished_run_warns_of_a_changed_log(tmp_path, text, earlier):
    """The hash is in the result, or in the checkpoint if an earlier version wrote the result."""
    run, record = tmp_path / "run", "a line\n"
    digest = hashlib.sha256(record.encode()).hexdigest()
    killed_run(run)
    with RunFolder.claim(run, SETTINGS) as folder:
        folder.open("", "", DATA)
        place = folder.checkpoints / "000003-step-9"
        place.mkdir()
        state = {"run": folder.description.as_dict()}
        lengths = {"metrics.jsonl": len(record)}
        Snapshot(9, {"0 v": np.zeros(3)}, state, lengths, record=digest).save(place)
        (run / "metrics.jsonl").write_text(record)
        result = folder.close({"status": "finished"})
        assert folder.read_result()["record"] == digest
    if earlier:
        (run / "result.json").write_text(json.dumps({**result, "record": None}))
    if text is None:
        (run / "metrics.jsonl").unlink()
    else:
        (run / "metrics.jsonl").write_text(text)
    said = r"The log .*metrics\.jsonl' (was changed|has 0|is missing)"
    with RunFolder.claim(run, SETTINGS) as folder, pytest.warns(UserWarning, match=said):
        folder.read_result()


@pytest.mark.parametrize("text", ['{"format": 3, "mtk": "0", "settings": [1]}'])
def test_settings_of_another_type_are_refused(tmp_path, text):
    run = killed_run(tmp_path / "run")
    (run / "checkpoints" / "run.json").write_text(text)
    with pytest.raises(ValueError, match="dicts of strings"):
        resume(run)


@pytest.mark.parametrize(
    "name",
    [
        *("config.gin", "operative_config.gin", "manifest.json", "metrics.jsonl", "tensorboard"),
        *("saved_model", "checkpoints/lock", "checkpoints/selected.weights.h5"),
    ],
)
def test_symbolic_link_in_a_run_folder_is_refused(tmp_path, name):
    run = killed_run(tmp_path / "run")
    outside = tmp_path / "precious"
    outside.write_text("of others")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    before = content(tmp_path)
    with pytest.raises(ValueError, match=f"{name}' is a symbolic link"):
        resume(run)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["checkpoints/run.json", "result.json"])
@pytest.mark.parametrize("kind", ["huge", "pipe", "nested"])
def test_unreadable_descriptions_are_refused(tmp_path, name, kind):
    run = killed_run(tmp_path / "run")
    (run / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "huge":
        with (run / name).open("wb") as file:
            file.truncate(1 << 40)
    else:
        (run / name).write_text("[" * 100_000)
    with pytest.raises(ValueError, match=f"{name}' is damaged"):
        RunFolder.claim(run, SETTINGS).read_result()


def test_files_outside_of_the_folder_are_not_read(tmp_path):
    description = RunDescription({}, files={"/dev/zero": "", "../../dev/zero": "", "absent": ""})
    assert description.changed(tmp_path)[:1] == ["/dev/zero"]
