"""Remarks on unsound studies: every problem is reported, and no run is dropped silently."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mtk import analysis, example_values
from mtk.analysis.comparison import width_table
from mtk.analysis.reporting.remarks import remarks
from mtk.example_values import ExampleValues
from tests.analysis.synthetic import Run, grid, record, two_stages, write_study

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


def small(**changes):
    return two_stages(seeds=(1, 2), weights=WEIGHTS, rates=(0.03, 0.1, 0.3), **changes)


def said(folder):
    """Returns the remarks on a study, its verdicts on the losses, and its table."""
    table = analysis.load(folder)
    texts = [text for _, text in table.attrs["remarks"]]
    found = {}
    for view in analysis.views(table):
        compared = analysis.comparisons(view)
        texts += remarks(view, compared)
        for each in compared:
            found |= {(each.title, name): v for name, v in each.verdicts.items()}
    return "\n".join(texts), found, table


def study(tmp_path, runs, **changes):
    return said(write_study(tmp_path / "study", runs, **changes))


def test_sound_study_has_only_the_remark_on_test_examples(tmp_path):
    texts, found, _ = study(tmp_path, small())
    assert texts.splitlines() == [
        "None of the 16 runs that are compared on test has a readable test_examples.npz (the "
        "values for each test example). The intervals cover the variation between seeds only, not "
        "that of a finite test set."
    ]
    assert {name for _, name in found} == {"pcgrad", "mgda", "gradnorm"}


def test_seeds_that_do_not_match(tmp_path):
    runs = small()
    for run in runs:
        if run.method == "mgda" and run.stage == "measure":
            run.seed += 50
    texts, found, _ = study(tmp_path, runs)
    assert "mgda: 1 of 1 selected models are left out" in texts
    assert (
        "Seeds with test values for fewer than half of the models are not compared: 51, 52."
        in texts
    )
    assert {name for _, name in found} == {"pcgrad", "gradnorm"}


def test_single_seed(tmp_path):
    texts, found, _ = study(tmp_path, grid(weights=WEIGHTS))
    assert "the runs with seed 0 select, and the same runs are compared on test" in texts
    assert {v.answer for v in found.values()} == {"undecided"}
    assert all(
        np.isnan(v.low) and "a single seed gives no interval" in v.reason for v in found.values()
    )


def test_method_with_a_single_configuration(tmp_path):
    runs = [r for r in small() if r.method != "mgda" or r.rate == 0.1]
    texts, found, _ = study(tmp_path, runs)
    assert "mgda has only one configuration, so it was not tuned." in texts
    assert ("front of loss", "mgda") in found


def test_method_with_more_configurations_than_static_weights(tmp_path):
    runs = small()
    decays = np.linspace(0, 2e-3, 9).tolist()
    tries = [
        replace(r, decay=d) for r in runs if r.method == "mgda" and r.seed == 0 for d in decays
    ]
    texts, found, _ = study(tmp_path, [r for r in runs if r not in tries] + tries)
    told = [line for line in texts.splitlines() if "was tried with" in line]
    assert told == [
        "mgda was tried with 27 configurations, static weights with 15: a larger search can "
        "find a better model even if the method is no better."
    ]
    assert ("front of loss", "mgda") in found


def rewritten(folder, change):
    for path in (folder / "runs").glob("*/*.json"):
        content = json.loads(path.read_text())
        change(path, content)
        path.write_text(json.dumps(content))
    return folder


def test_metric_of_unknown_direction(tmp_path):
    def change(path, content):
        if path.name == "manifest.json":
            for own in content["method"]["directions"].values():
                own["accuracy"] = None

    folder = rewritten(write_study(tmp_path / "study", small()), change)
    texts, found, table = said(folder)
    assert "The metric 'accuracy' is left out because its direction is unknown" in texts
    # Only the direction is unknown: the rest of the manifest is still read.
    assert "manifest.json" not in texts
    assert all(said["left"] == {"loss": "min", "accuracy": None} for said in table["directions"])
    assert {title for title, _ in found} == {"front of loss", "mean loss over tasks"}


def test_runs_of_two_sizes(tmp_path):
    texts, _, table = study(tmp_path, small(layers=(3, 6)))
    for size in ("3,000", "6,000"):
        assert f"not compared with each other. This section covers: {size} parameters." in texts
    assert sum(len(view.table) for view in analysis.views(table)) == len(table)


def test_study_of_an_earlier_version(tmp_path):
    texts, found, table = study(tmp_path, small(), recorded=False)
    assert "which did not record parameters" in texts
    assert "no readable manifest.json, or one of an earlier version" in texts
    assert "recorded neither whether weights are static nor the direction of metrics" in texts
    assert "The metric 'accuracy' is left out because its direction is unknown" in texts
    assert {name for _, name in found} == {"pcgrad", "mgda", "gradnorm"}
    assert table["experiment.Optimization.learning_rate"].nunique() == 3


@pytest.mark.parametrize("split", ["validation", "test"])
def test_nan_in_one_split(tmp_path, split):
    runs = small()
    lost = next(run for run in runs if run.method == "gradnorm" and run.stage == "measure")

    def change(path, content):
        if path.parent.name == lost.hash and path.name == "result.json":
            content[split]["tasks"]["left"]["loss"] = float("nan")

    folder = rewritten(write_study(tmp_path / "study", runs), change)
    texts, found, table = said(folder)
    assert f"no value of {split}/left/loss" in texts
    assert "gradnorm: 1 of 1 selected models are left out" in texts
    assert "gradnorm" not in {name for _, name in found}
    assert (table["status"] == "incomplete").sum() == 1


def test_nan_in_training_drops_no_run(tmp_path):
    """Training values decide nothing, and are left out of what is shown."""
    runs = small()
    lost = next(run for run in runs if run.method == "gradnorm" and run.stage == "measure")

    def change(path, content):
        if path.parent.name == lost.hash and path.name == "result.json":
            content["train"]["tasks"]["left"]["loss"] = float("nan")

    folder = rewritten(write_study(tmp_path / "study", runs), change)
    texts, found, table = said(folder)
    assert "1 of 40 finished runs lack values on the training set, such as train/left/loss" in texts
    assert ("front of loss", "gradnorm") in found
    assert (table["status"] == "finished").all()


def test_selecting_seed_is_that_of_most_runs(tmp_path):
    runs = grid(seeds=(3, 4, 5), weights=WEIGHTS, rates=(0.1, 0.3))
    runs.append(Run("mgda", "MGDA", 0.75, seed=0))  # A preliminary run at another seed.
    texts, found, _ = study(tmp_path, runs)
    assert "no second stage: the runs with seed 3 select, and the runs with other seeds" in texts
    assert {name for _, name in found} == {"pcgrad", "mgda", "gradnorm"}


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("stage", [None, "select"])
def test_test_examples_of_a_single_stage_are_read(tmp_path, seeds, stage):
    """Also those of a sweep that has not started its second stage."""
    runs = [replace(run, stage=stage) for run in grid(seeds, weights=WEIGHTS, rates=(0.1,))]
    folder = write_study(tmp_path / "study", runs)
    for run in runs:
        values = np.random.default_rng([run.seed, len(run.name)]).normal(size=(4, 50))
        kept = ExampleValues(
            np.array([f"{t}/{m}" for t in ("left", "right") for m in ("loss", "accuracy")]),
            np.array(["the same"] * 4), np.full(4, 50), values, np.ones((4, 50)),
        )  # fmt: skip
        example_values.save(folder / "runs" / run.hash / "test_examples.npz", kept)
    texts, found, _ = said(folder)
    assert "test_examples" not in texts
    assert ("no run of its second stage yet" in texts) == (stage is not None)
    assert all(v.examples == (len(seeds) > 1) for v in found.values())


def test_width_that_depends_on_one_weighting_is_reported(tmp_path):
    """The last weighting is slightly worse than the next one in its own task too."""

    def change(path, content):
        known = json.loads((path.parent / "manifest.json").read_text())["method"]
        if path.name == "result.json" and known["static"] and known["task_weights"]["left"] == 0.9:
            content["test"]["tasks"]["left"]["loss"] += 0.09

    folder = rewritten(write_study(tmp_path / "study", small()), change)
    texts, _, _ = said(folder)
    (view,) = analysis.views(analysis.load(folder))
    table = width_table(view, analysis.comparisons(view))
    own = table[(table["compared"] == "loss") & (table["task"] == "right")].iloc[0]
    assert own["with dominated static models"] > 1.25 * own["width"]
    (text,) = [line for line in texts.splitlines() if "The width of the front of loss" in line]
    assert "with the weights left 0.9, right 0.1, which is dominated by" in text
    assert f"right {own['width']:.3g} or {own['with dominated static models']:.3g}" in text


def of_method(folder, method, stage):
    """The hashes of a method's runs."""
    listed = json.loads((folder / "study.json").read_text())["runs"]
    return [run["hash"] for run in listed if (run["method"], run["stage"]) == (method, stage)]


def test_a_task_that_few_runs_have_is_said(tmp_path):
    """What is left out changes every verdict, so a table far below is not enough."""

    def change(path, content):
        static = json.loads((path.parent / "manifest.json").read_text())["method"]["static"]
        for split in ("train", "validation", "test") if static else ():
            if path.name == "result.json":
                del content[split]["tasks"]["right"]

    folder = rewritten(write_study(tmp_path / "study", small()), change)
    texts, found, _ = said(folder)
    assert "Not compared at all: task right. The comparison is of the other tasks." in texts
    assert "right/loss (15 on validation, 15 on test). 40 runs in total." in texts
    assert {title for title, _ in found} == {"mean loss over tasks", "mean accuracy over tasks"}


def test_a_metric_without_values_in_one_split_is_said(tmp_path):
    def change(path, content):
        if path.name == "result.json":
            content["test"]["tasks"]["left"]["accuracy"] = float("nan")

    texts, _, table = said(rewritten(write_study(tmp_path / "study", small()), change))
    assert "Not compared at all" not in texts
    assert "so they are not compared: left/accuracy (40 on validation, 0 on test)." in texts
    assert (table["status"] == "finished").all()


def test_no_values_at_all_on_test_leave_no_other_task(tmp_path):
    def change(path, content):
        if path.name == "result.json":
            content["test"] = {"tasks": {}}

    texts, found, _ = said(rewritten(write_study(tmp_path / "study", small()), change))
    assert "Not compared at all: tasks left, right.\n" in texts
    assert not found


def test_a_repeated_run_counts_once(tmp_path):
    folder = write_study(tmp_path / "study", small())
    before = said(folder)
    (original,) = of_method(folder, "pcgrad", "measure")[:1]
    for number in range(2):
        shutil.copytree(folder / "runs" / original, folder / "runs" / f"{original}-{number}")
    texts, found, table = said(folder)
    assert "2 of 42 runs repeat another run, with the same method, parameters and seed." in texts
    assert "2 of 42 runs are not in study.json" in texts
    assert {*table["method"]} == {*before[2]["method"]}
    copies = table[table["status"] == "duplicate"]
    assert [*copies["run"]] == [f"{original}-0", f"{original}-1"]
    assert copies["reason"].str.contains(f"as the run {original}, which counts").all()
    assert {name: v.margin for name, v in found.items()} == {
        name: v.margin for name, v in before[1].items()
    }
    counts = analysis.configurations(table)[["method", "configuration", "seeds"]]
    assert counts.equals(analysis.configurations(before[2])[["method", "configuration", "seeds"]])


def test_runs_without_a_seed(tmp_path):
    """They cannot be compared seed by seed."""
    folder = write_study(tmp_path / "study", small())
    lost = of_method(folder, "mgda", "measure")[0]
    for path in (folder / "runs" / lost).rglob("*.json"):
        content = json.loads(path.read_text())
        content.pop("seed", None)
        content.get("settings", {}).pop("experiment.Training.seed", None)
        path.write_text(json.dumps(content))
    listed = json.loads((folder / "study.json").read_text())
    for run in listed["runs"]:
        run |= {"seed": None} if run["hash"] == lost else {}
    (folder / "study.json").write_text(json.dumps(listed))
    texts, found, table = said(folder)
    assert [*table["reason"][table["status"] == "incomplete"]] == [
        "no seed, so no runs to compare it with"
    ]
    assert "incomplete at an unknown seed; finished at 2" in texts
    assert "mgda" not in {name for _, name in found}


def test_a_method_called_static_weights(tmp_path):
    runs = [replace(r, method="static weights") if r.method == "mgda" else r for r in small()]
    _, found, table = study(tmp_path, runs)
    assert ("front of loss", "static weights (MGDA)") in found
    assert {*table["method"][table["role"] == "baseline"]} == {"static_weights"}


@pytest.mark.parametrize("name", ["result.json", "manifest.json", "checkpoints/run.json"])
def test_a_damaged_run_with_static_weights_is_no_method(tmp_path, name):
    folder = write_study(tmp_path / "study", small())
    (folder / "runs" / of_method(folder, "static_weights", "select")[0] / name).write_text("{")
    _, found, table = said(folder)
    assert {*table["role"][table["method"] == "static_weights"]} == {"baseline"}
    assert {name for _, name in found} == {"pcgrad", "mgda", "gradnorm"}


def test_runs_that_have_not_begun_are_no_configurations_of_their_own(tmp_path):
    """The list has few of the parameters that a run records."""
    runs = small()
    folder = write_study(tmp_path / "study", runs)
    listed = json.loads((folder / "study.json").read_text())
    for run, about in zip(runs, listed["runs"], strict=True):
        about["bindings"] = {"experiment.Optimization.learning_rate": run.rate, "a.B.seed": "%seed"}
        record(folder / "runs" / run.hash, **{"a.B.seed": str(run.seed)})
    (folder / "study.json").write_text(json.dumps(listed))
    before = analysis.configurations(analysis.load(folder))
    for stage in ("select", "measure"):
        for name in of_method(folder, "mgda", stage)[1:]:
            shutil.rmtree(folder / "runs" / name)
    texts, _, table = said(folder)
    after = analysis.configurations(table)
    assert {*after["configuration"]} == {*before["configuration"]}
    assert "mgda: 1 of 1 selected models are left out" in texts


def test_pending_runs_count_for_the_weights_that_others_recorded(tmp_path):
    """The list has values as the study wrote them, such as weights 1 and 3 for 0.25 and 0.75."""
    folder = write_study(tmp_path / "study", runs := small())
    listed = json.loads((folder / "study.json").read_text())
    weights = "combiners.StaticWeights.weights"
    for run, about in zip(runs, listed["runs"], strict=True):
        left = run.weight
        about["bindings"] = {"experiment.Optimization.learning_rate": run.rate}
        if run.method == "static_weights":
            about["bindings"][weights] = {"right": 4 * (1 - left), "left": 4 * left}
    (folder / "study.json").write_text(json.dumps(listed))
    before = analysis.configurations(analysis.load(folder))
    for name in of_method(folder, "static_weights", "measure"):
        shutil.rmtree(folder / "runs" / name)
    after = analysis.configurations(analysis.load(folder))
    assert {*after["configuration"]} == {*before["configuration"]}


@pytest.mark.parametrize("name", ["pcgrad", "nothing"])
def test_a_baseline_without_static_weights_is_said(tmp_path, name):
    folder = write_study(tmp_path / "study", small())
    listed = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps({**listed, "baseline": name}))
    texts, found, _ = said(folder)
    assert f"study.json names {name!r} as the baseline, but no run of that name trained" in texts
    assert ("front of loss", "pcgrad") in found


def test_runs_without_a_result_are_counted(tmp_path):
    runs = small()
    folder = write_study(tmp_path / "study", runs)
    lost = next(run for run in runs if run.method == "mgda" and run.stage == "select")
    (folder / "runs" / lost.hash / "result.json").unlink()
    texts, _, table = said(folder)
    assert f"1 of {len(table)} runs have no usable result and do not count (1 unfinished)." in texts


def test_selection_by_another_loss_than_the_compared_one(tmp_path):
    def change(path, content):
        if path.name == "manifest.json":
            for own in content["method"]["directions"].values():
                own["cross_entropy"] = "min"
        for split in ("train", "validation", "test") if path.name == "result.json" else ():
            for own in content[split]["tasks"].values():
                own["cross_entropy"] = 0.9 * own["loss"]

    folder = rewritten(write_study(tmp_path / "study", small()), change)
    texts, _, _ = said(folder)
    assert (
        "Validation selected by mean_loss of the training loss, which has label smoothing" in texts
    )
    assert "the comparison uses cross_entropy" in texts
