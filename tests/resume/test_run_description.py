"""Which run a folder holds, after a hand has been at its files. Nothing is trained."""

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


def begun(path, settings=SETTINGS, data=DATA, steps=(4, 8)):
    """A run folder with checkpoints, as a killed run leaves it."""
    with RunFolder.claim(path, settings) as folder:
        folder.open("asked = 1\n", "operative = 1\n", data)
        for number, step in enumerate(steps, 1):
            checkpoint = folder.checkpoints / f"{number:06}-step-{step}"
            checkpoint.mkdir()
            state = {"run": folder.description.as_dict()}
            Snapshot(step, {"0 v": np.zeros(3)}, state).save(checkpoint)
        folder.metrics.write_text("a line\n")
    return path


def go_on(path, settings=SETTINGS, data=DATA):
    with RunFolder.claim(path, settings) as folder:
        folder.open("asked = 1\n", "operative = 1\n", data)
        return folder


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {path: path.read_bytes() for path in files}


def lose(*names):
    def change(run):
        for name in names:
            (run / "checkpoints" / name).unlink()

    return change


def damage_newest(run):
    lose("run.json", "lock")(run)
    (run / "checkpoints" / "000002-step-8" / "state.json").write_text("{}")


LOSSES = [lambda run: None, lose("run.json"), lose("lock"), lose("run.json", "lock"), damage_newest]


@pytest.mark.parametrize("change", LOSSES)
def test_what_a_run_is_survives_the_loss_of_its_files(tmp_path, change):
    run = begun(tmp_path / "run")
    whole = content(run)
    change(run)
    before = content(run)
    for settings, data, culprit in ((OTHERS, DATA, "learning_rate"), (SETTINGS, {}, "test: 5")):
        with pytest.raises(ValueError, match=culprit):
            go_on(run, settings, data)
        assert content(run) == before
    go_on(run)
    assert (run / "checkpoints" / "lock").exists()
    kept = [path for path in whole if "000002" not in str(path)]
    assert {path: content(run)[path] for path in kept} == {path: whole[path] for path in kept}


@pytest.mark.parametrize("left", ["metrics.jsonl", "result.json"])
def test_a_record_of_nobody_is_not_overwritten(tmp_path, left):
    run = begun(tmp_path / "run", steps=())
    lose("run.json")(run)
    (run / "metrics.jsonl").rename(run / left)
    before = content(run)
    with pytest.raises(ValueError, match=rf"run\.json' is missing.*{left}"):
        go_on(run)
    assert content(run) == before


def test_a_run_that_was_killed_at_once_begins_anew(tmp_path):
    run = begun(tmp_path / "run", steps=())
    lose("run.json")(run)
    (run / "metrics.jsonl").unlink()
    assert go_on(run, OTHERS).description.settings == OTHERS


@pytest.mark.parametrize("which", ["settings", "data"])
def test_the_description_of_another_run_does_not_fit_the_checkpoints(tmp_path, which):
    run = begun(tmp_path / "run")
    asked = {"settings": OTHERS} if which == "settings" else {"data": {"train": "other"}}
    other = begun(tmp_path / "other", **asked)
    foreign = (other / "checkpoints" / "run.json").read_text()
    (run / "checkpoints" / "run.json").write_text(foreign)
    before = content(run)
    with pytest.raises(ValueError, match="learning_rate" if which == "settings" else "train"):
        go_on(run, **asked)
    assert content(run) == before


@pytest.mark.parametrize("name", ["config.gin", "operative_config.gin"])
@pytest.mark.parametrize("damage", [None, "", "asked = 2\n"])
def test_texts_that_were_changed_are_written_anew(tmp_path, name, damage):
    run = begun(tmp_path / "run")
    before = content(run)
    if damage is None:
        (run / name).unlink()
        go_on(run)
    else:
        (run / name).write_text(damage)
        with pytest.warns(UserWarning, match=f"{name}' was changed.*written again"):
            go_on(run)
    assert content(run) == before


def test_a_text_in_other_words_stays_as_it_is(tmp_path):
    run = begun(tmp_path / "run")
    with RunFolder.claim(run, SETTINGS) as folder:
        folder.open("# In other words.\nasked = 1\n", "operative = 1\n", DATA)
    assert (run / "config.gin").read_text() == "asked = 1\n"


@pytest.mark.parametrize("change", [lambda run: None, lose("run.json")])
def test_the_result_of_another_run_is_refused(tmp_path, change):
    results = {}
    for name, settings in (("one", SETTINGS), ("other", OTHERS)):
        begun(tmp_path / name, settings)
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


def test_a_finished_run_says_that_a_text_was_changed(tmp_path):
    run = begun(tmp_path / "run")
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
def test_a_finished_run_says_that_its_record_was_changed(tmp_path, text, earlier):
    """By the hash in its result; that of an earlier version has none, but the checkpoint has."""
    run, record = tmp_path / "run", "a line\n"
    digest = hashlib.sha256(record.encode()).hexdigest()
    begun(run)
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
def test_settings_of_another_type_are_damage(tmp_path, text):
    run = begun(tmp_path / "run")
    (run / "checkpoints" / "run.json").write_text(text)
    with pytest.raises(ValueError, match="dicts of strings"):
        go_on(run)


@pytest.mark.parametrize(
    "name",
    [
        *("config.gin", "operative_config.gin", "manifest.json", "metrics.jsonl", "tensorboard"),
        *("saved_model", "checkpoints/lock", "checkpoints/selected.weights.h5"),
    ],
)
def test_a_link_in_a_run_folder_is_not_written_through(tmp_path, name):
    run = begun(tmp_path / "run")
    outside = tmp_path / "precious"
    outside.write_text("of others")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    before = content(tmp_path)
    with pytest.raises(ValueError, match=f"{name}' is a symbolic link"):
        go_on(run)
    assert content(tmp_path) == before


@pytest.mark.parametrize("name", ["checkpoints/run.json", "result.json"])
@pytest.mark.parametrize("kind", ["huge", "pipe", "nested"])
def test_descriptions_that_cannot_be_read_at_all(tmp_path, name, kind):
    run = begun(tmp_path / "run")
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


def test_files_that_a_run_names_elsewhere_are_not_read(tmp_path):
    description = RunDescription({}, files={"/dev/zero": "", "../../dev/zero": "", "absent": ""})
    assert description.changed(tmp_path)[:1] == ["/dev/zero"]
