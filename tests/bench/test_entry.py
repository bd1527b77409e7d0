"""The tuning budget of an entry, and its submission."""

import hashlib
import itertools
import json
import os
import shutil
import zipfile

import pytest
from benches import FOLDERS, RATE, make_card

from mtk.bench import BenchFolder, submit
from mtk.bench.entry import costs
from mtk.errors import StudyError


def listed(bench, label):
    return json.loads(bench.folder.entry(label).list.read_text())["runs"]


def stages(bench, label):
    runs = listed(bench, label)
    return [sum(run.get("stage") == stage for run in runs) for stage in ("select", "measure")]


def test_entry_0_tunes_all_configurations_and_measures_at_most_five_models(bench):
    assert bench.run("static_weights") == 0
    tuned, measured = stages(bench, "static_weights")
    assert tuned == 6
    assert measured % 5 == 0
    assert 5 <= measured <= 25
    seeds = {run["seed"] for run in listed(bench, "static_weights") if run["stage"] == "measure"}
    assert seeds == {1, 2, 3, 4, 5}
    assert all(
        run["bindings"]["experiment.Training.test"] == "sealed"
        for run in listed(bench, "static_weights")
    )


@pytest.mark.parametrize(("cost", "number"), [(0.5, 6), (1.0, 6), (1.5, 4), (3.0, 2), (5.9, 1)])
def test_more_expensive_method_tries_fewer_configurations(bench, cost, number):
    bench.card = make_card(at_a_time=1)
    bench.cost["pcgrad"] = cost
    assert bench.run("pcgrad") == 0
    assert stages(bench, "pcgrad")[0] == number
    found = costs(bench.folder.entry("pcgrad"), listed(bench, "pcgrad"))
    assert found["tuning_cpu_seconds"] == pytest.approx(number * cost)
    assert found["tuning_cpu_seconds"] <= 6.0 * (1 + 1e-9)


def test_budget_smaller_than_one_run_raises(bench):
    bench.card = make_card(at_a_time=1)
    bench.cost["pcgrad"] = 7.0
    with pytest.raises(StudyError, match=r"6\.0 CPU seconds is smaller than one run.*7\.0"):
        bench.run("pcgrad")
    assert stages(bench, "pcgrad")[1] == 0


def test_second_call_starts_no_run_again(bench):
    assert bench.run("pcgrad") == 0
    before = len(bench.engine.started)
    assert bench.run("pcgrad") == 0
    assert len(bench.engine.started) == before


def test_user_defined_method_by_import_path_or_gin_file(bench, tmp_path):
    bench.errors["Mine"] = bench.errors["mine"] = 0.2
    bench.cost |= {"Mine": 1.0, "mine": 1.0}
    assert bench.folder.method("combiners_of_mine:Mine") == (
        "Mine",
        [str((tmp_path / "bench" / "methods" / "Mine.gin").absolute())],
    )
    text = (tmp_path / "bench" / "methods" / "Mine.gin").read_text()
    assert "experiment.run.combiner = @combiners_of_mine.Mine\n" in text
    own = tmp_path / "mine.gin"
    own.write_text(text.replace("combiners_of_mine", "combiners").replace("Mine", "CAGrad")
                   .replace("import combiners\n", "from mtk import combiners\n"))  # fmt: skip
    assert bench.run(str(own)) == 0
    assert stages(bench, "mine") == [6, 5]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("PCGard", "is not a method"),
        ("../pcgrad.gin", None),
        ("a b.gin", "is not a valid name of an entry"),
        ("static_run.gin", "is not a valid name of an entry"),
        ("my.module:", "is not a valid name of an entry"),
    ],
)
def test_invalid_names_raise(bench, given, named):
    if named is None:  # The name of a file elsewhere is its stem.
        assert bench.folder.method(given)[0] == "pcgrad"
        return
    with pytest.raises(StudyError, match=named):
        bench.folder.method(given)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"configurations": 0}, "configurations"),
        ({"configurations": 2.5}, "configurations"),
        ({"reads": 0}, "reads"),
        ({"delta": 0.0}, "delta"),
        ({"metrics": {"left": "accuracy"}}, "two or more tasks"),
        ({"metrics": {"left": ("accuracy", "up"), "right": "accuracy"}}, "left"),
        ({"metrics": {"left": 3, "right": "accuracy"}}, "left"),
        ({"methods": {"static_weights": "x.gin"}}, "entry 0"),
        ({"methods": {"../x": "x.gin"}}, "is not a valid name"),
        ({"methods": {"static_run": "x.gin"}}, "is not a valid name"),
        ({"method_choices": {"none": {}}}, "none"),
        ({"places": ("data_dr",)}, "`places` names 'data_dr'"),
        ({"log_uniform": {RATE: (1.0, 0.1)}}, "learning_rate"),
    ],
)
def test_invalid_cards_raise(changes, named):
    with pytest.raises((StudyError, TypeError), match=named):
        make_card(**changes)


def test_card_whose_entry_0_would_train_with_another_combiner_raises():
    card = make_card(configs=["multi_digits.gin", "combiners/pcgrad.gin"])
    with pytest.raises(StudyError, match="static_weights would not read .*PCGrad"):
        card.static_run(FOLDERS)


def test_hash_of_a_card_depends_on_what_affects_scores():
    card = make_card()
    settings = dict(card.settings)
    same = [{"reads": 7}, {"methods": {}}]
    other = [
        {"name": "other"},
        {"configurations": 7},
        {"delta": 0.1},
        {"metrics": {"left": "loss", "right": "accuracy"}},
        {"settings": {**settings, "experiment.Training.epochs": 2}},
        {"log_uniform": {RATE: (0.02, 1.0)}},
    ]
    hashes = [make_card(**changes).hash(FOLDERS) for changes in other]
    assert len({card.hash(FOLDERS), *hashes}) == len(other) + 1
    for changes in same:
        assert make_card(**changes).hash(FOLDERS) == card.hash(FOLDERS)


@pytest.mark.parametrize("places", [("data_dir",), ()])
def test_hash_of_a_card_does_not_depend_on_the_location_of_the_data(places):
    metrics = {"income": "accuracy", "marital": "accuracy"}
    hashes = {
        make_card(
            configs=["adult.gin"], settings={"data_dir": data_dir}, metrics=metrics, places=places
        ).hash(FOLDERS)
        for data_dir in ("here.gz", "there.gz")
    }
    assert len(hashes) == (1 if places else 2)


def test_folder_of_another_card_raises(bench, tmp_path):
    bench.folder.begin()
    with pytest.raises(StudyError, match="another card"):
        BenchFolder(tmp_path / "bench", make_card(configurations=9), FOLDERS)


def test_data_that_differ_from_the_card_raise(bench):
    bench.card = make_card(data={"train": "something else"})
    with pytest.raises(StudyError, match=r"not those of the card(.|\n)*something else"):
        bench.run("static_weights")
    assert not bench.folder.entry("static_weights").list.exists()


def test_submission_lists_hashes_of_all_files(bench):
    out = bench.submission("static_weights")
    about = json.loads((out / "submission.json").read_text())
    assert about["data"] == bench.data
    assert about["card"]["hash"] == bench.card.hash(FOLDERS)
    for name, digest in about["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert 1 <= len(about["models"]) <= 5
    assert all(len(model["runs"]) == 5 for model in about["models"])
    assert about["cost"]["configurations"] == 6
    packed = submit(bench.folder, "static_weights", out.with_suffix(".zip"))
    with zipfile.ZipFile(packed) as archive:
        assert {*archive.namelist()} == {"submission.json", *about["files"]}


def test_model_with_a_missing_seed_is_left_out(bench, capsys):
    assert bench.run("static_weights") == 0
    measured = [r["hash"] for r in listed(bench, "static_weights") if r["stage"] == "measure"]
    run = bench.folder.entry("static_weights").run_dir(measured[0])
    shutil.rmtree(run)
    out = submit(bench.folder, "static_weights", bench.place / "out")
    about = json.loads((out / "submission.json").read_text())
    assert len(about["models"]) == len(measured) // 5 - 1
    assert "Left out" in capsys.readouterr().out


FILES = ["configs/{run}.gin", "runs/{run}/test_predictions.npz", "runs/{run}/result.json"]
REPLACED = {
    "link": "is a symbolic link",
    "pipe": "is a device or a pipe",
    "text": "(expected predictions|result.json does not contain a JSON object)",
}


@pytest.mark.parametrize(
    ("name", "how"),
    # Any text may be a configuration.
    [case for case in itertools.product(FILES, REPLACED) if case != (FILES[0], "text")],
)
def test_replaced_files_of_a_run_are_not_submitted(bench, name, how):
    assert bench.run("static_weights") == 0
    run = next(r["hash"] for r in listed(bench, "static_weights") if r["stage"] == "measure")
    file = bench.folder.entry("static_weights").path / name.format(run=run)
    content = file.read_bytes()
    file.unlink()
    if how == "link":
        (bench.place / "private").write_bytes(content)
        file.symlink_to(bench.place / "private")
    elif how == "pipe":
        os.mkfifo(file)
    else:
        file.write_text("1")
    with pytest.raises(StudyError, match=f"{file}' cannot be submitted: .*{REPLACED[how]}"):
        submit(bench.folder, "static_weights", bench.place / "out")
    assert not (bench.place / "out").exists()


@pytest.mark.parametrize("label", ["pcgrad", "nothing"])
def test_submitting_a_missing_entry_raises(bench, label):
    with pytest.raises(StudyError, match=f"no entry '{label}'"):
        submit(bench.folder, label, bench.place / "out")
    assert not (bench.place / "out").exists()


def test_runs_with_an_open_test_split_cannot_be_submitted(bench):
    assert bench.run("pcgrad") == 0
    for result in bench.folder.entry("pcgrad").path.glob("runs/*/result.json"):
        content = json.loads(result.read_text())
        result.write_text(json.dumps({**content, "sealed": False}))
    with pytest.raises(StudyError, match="have measured test"):
        submit(bench.folder, "pcgrad", bench.place / "out")


def test_runs_on_other_data_cannot_be_submitted(bench):
    assert bench.run("pcgrad") == 0
    run = next(r["hash"] for r in listed(bench, "pcgrad") if r["stage"] == "measure")
    result = bench.folder.entry("pcgrad").run_dir(run) / "result.json"
    content = json.loads(result.read_text())
    result.write_text(json.dumps({**content, "data": {"train": "others"}}))
    with pytest.raises(StudyError, match="used different data"):
        submit(bench.folder, "pcgrad", bench.place / "out")


def test_foreign_files_are_not_replaced(bench):
    assert bench.run("pcgrad") == 0
    (bench.place / "out").mkdir()
    (bench.place / "out" / "notes.txt").write_text("precious")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        submit(bench.folder, "pcgrad", bench.place / "out")
    assert (bench.place / "out" / "notes.txt").read_text() == "precious"
