"""A run that crashed at any moment resumes to the same result; other runs are refused."""

import json
import shutil

import compare_runs
import keras
import pytest
from application_runs import read_metrics, start
from crashes import AugmentedDigits, CrashError, crash, names

from mtk import callbacks
from mtk.experiment import RunFolder, completion
from tests.quick import some


def resume(tiny, folder, **arguments):
    return start(tiny, folder, every=0.0, **arguments)


def crash_and_resume(tiny, run, monkeypatch, moments, failing):
    """Crashes a run at moments and in functions, resumes it, and returns its sessions' steps."""

    def fail(*arguments, **options):
        raise CrashError

    for step, moment in moments:
        crash(monkeypatch, step, moment)
        with pytest.raises(CrashError):
            resume(tiny, run)
    for owner, name in failing:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(CrashError):
                resume(tiny, run)
    resume(tiny, run)
    sessions = json.loads((run / "manifest.json").read_text())["sessions"]
    return [x["first_step"] for x in sessions]


def test_run_that_crashes_in_a_validation_and_in_its_last_phase(
    tiny, undisturbed, tmp_path, monkeypatch
):
    failing = [(completion, "export")]
    found = crash_and_resume(tiny, tmp_path / "run", monkeypatch, [(4, "on_test_begin")], failing)
    assert found == [0, 4, 10]
    assert compare_runs.differences(tmp_path / "run", undisturbed) == []
    # No metric is duplicated or lost.
    steps = {}
    for line in read_metrics(tmp_path / "run"):
        steps.setdefault((line["split"], line["task"], line["name"]), []).append(line["step"])
    for split, expected in {"train": [4, 8, 10], "validation": [4, 8, 10], "test": [10]}.items():
        assert [steps[split, task, "loss"] for task in ("left", "right", "")] == [expected] * 3


@pytest.mark.slow
def test_run_that_crashes_at_every_moment(tiny, undisturbed, tmp_path, monkeypatch):
    """One run crashes eight times: in training, around evaluations and in its last phase."""
    moments = [
        (3, "stepped"),
        (4, "stepped"),
        (4, "on_test_begin"),
        (4, "evaluated"),
        (9, "stepped"),
        (10, "evaluated"),
    ]
    failing = [(callbacks.BestCheckpoint, "restore"), (completion, "export")]
    found = crash_and_resume(tiny, tmp_path / "run", monkeypatch, moments, failing)
    assert found == [0, 2, 3, 4, 4, 8, 10, 10, 10]
    assert compare_runs.differences(tmp_path / "run", undisturbed) == []


@pytest.mark.slow
def test_compare_runs_reports_differences(tiny, undisturbed, tmp_path):
    resume(tiny, tmp_path / "run", seed=1)
    found = " ".join(compare_runs.differences(tmp_path / "run", undisturbed))
    for part in ("metrics.jsonl", "checkpoint", "selected weights", "exported network", "curve"):
        assert part in found


def test_finished_run_is_returned_and_not_changed(tiny, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json*")}
    result = resume(tiny, undisturbed)
    assert result == json.loads((undisturbed / "result.json").read_text())
    assert before == {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.json*")}
    with pytest.raises(ValueError, match="another configuration"):
        resume(tiny, undisturbed, seed=1)


class OtherData(AugmentedDigits):
    """Digits whose fingerprint can be changed."""

    found = {}

    def __init__(self):
        super().__init__(partners=1, channels=(4, 4), units=8)

    def fingerprint(self):
        return dict(self.found)


def times(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_run_with_other_data_is_refused(tiny, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(OtherData, "found", {"digits": "1,797", "hash": "a"})
    run = interrupted(OtherData, tmp_path / "run", monkeypatch)
    kept = times(run)
    monkeypatch.setitem(OtherData.found, "hash", "b")
    with pytest.raises(ValueError, match="other data") as caught:
        resume(OtherData, run)
    assert str(caught.value).splitlines()[1:] == ["  hash: a in the folder, b now"]
    assert times(run) == kept
    monkeypatch.setitem(OtherData.found, "hash", "a")
    resume(OtherData, run)
    # Only the result contains the fingerprint of the data.
    assert compare_runs.differences(run, undisturbed) == ["result.json"]
    kept = json.loads((run / "manifest.json").read_text())
    assert kept["data"] == json.loads((run / "result.json").read_text())["data"] == OtherData.found


@pytest.mark.slow
def test_early_stopping_continues_after_a_crash(tiny, tmp_path, monkeypatch):
    stops = {"learning_rate": 1e-30, "patience": 2, "steps": 40}
    for step, moment in ((10, "stepped"), (12, "evaluated")):
        crash(monkeypatch, step, moment)
        with pytest.raises(CrashError):
            resume(tiny, tmp_path / "run", **stops)
    result = resume(tiny, tmp_path / "run", **stops)
    assert (result["steps"], result["selected_step"]) == (12, 4)


@pytest.mark.slow
def test_divergence_is_the_same_after_a_crash(tiny, tmp_path, monkeypatch):
    expected = resume(tiny, tmp_path / "undisturbed", learning_rate=1e30)
    assert expected["status"] == "diverged"
    crash(monkeypatch, expected["steps"], "on_test_begin")
    with pytest.raises(CrashError):
        resume(tiny, tmp_path / "run", learning_rate=1e30)
    assert resume(tiny, tmp_path / "run", learning_rate=1e30) == expected
    one, other = (tmp_path / name / "metrics.jsonl" for name in ("run", "undisturbed"))
    assert one.read_text() == other.read_text()


def averaging(learning_rate):
    return keras.optimizers.SGD(learning_rate, use_ema=True, ema_momentum=0.5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The optimizer averages the weights")
def test_averaged_weights_are_assigned_once(tiny, tmp_path, monkeypatch):
    """Keras assigns the averages at the end of each `fit`, and a resumed run has several."""
    resume(tiny, tmp_path / "undisturbed", optimizer=averaging)
    for step, moment in ((6, "stepped"), (10, "evaluated")):
        crash(monkeypatch, step, moment)
        with pytest.raises(CrashError):
            resume(tiny, tmp_path / "run", optimizer=averaging)
    resume(tiny, tmp_path / "run", optimizer=averaging)
    assert compare_runs.differences(tmp_path / "run", tmp_path / "undisturbed") == []


def interrupted(tiny, folder, monkeypatch, step=7):
    crash(monkeypatch, step)
    with pytest.raises(CrashError):
        resume(tiny, folder)
    return folder


@pytest.fixture(scope="module")
def crashed_run(tiny, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return interrupted(tiny, tmp_path_factory.mktemp("runs") / "ended", patch)


@pytest.fixture
def run(crashed_run, tmp_path):
    """A run that crashed before step 7."""
    return shutil.copytree(crashed_run, tmp_path / "run")


def damage_variables(checkpoint):
    path = checkpoint / "variables.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(checkpoint):
    path = checkpoint / "variables.npz"
    path.write_bytes(path.read_bytes()[:-100])


def delete_state(checkpoint):
    (checkpoint / "state.json").unlink()


def damage_selection(checkpoint):
    path = checkpoint / "selected.weights.h5"
    path.unlink()
    path.write_bytes(b"nothing")


@pytest.mark.parametrize(
    "damage",
    some([damage_variables, truncate, delete_state, damage_selection], [damage_variables]),
)
def test_run_resumes_from_the_checkpoint_before_a_damaged_one(tiny, undisturbed, damage, run):
    before, newest = names(run)
    damage(run / "checkpoints" / newest)
    with pytest.warns(UserWarning, match=f"{newest} is damaged"):
        resume(tiny, run)
    assert before < newest
    assert not list((run / "checkpoints").glob("damaged*"))  # The run is finished.
    assert compare_runs.differences(run, undisturbed) == []


@pytest.mark.slow
def test_run_without_a_valid_checkpoint_starts_again(tiny, undisturbed, monkeypatch, run):
    record = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("")  # The checkpoints expect lines that are missing.
    before = names(run)
    with pytest.raises(ValueError, match=r"metrics\.jsonl' has 0 bytes.*Restore the complete log"):
        resume(tiny, run)
    assert names(run) == before
    (run / "metrics.jsonl").write_text(record)
    for name in before:
        delete_state(run / "checkpoints" / name)
    with pytest.warns(
        UserWarning,
        match=(
            "is damaged: .* The run starts from the beginning: there is no other valid checkpoint"
        ),
    ):
        interrupted(tiny, run, monkeypatch)
    assert len(list((run / "checkpoints").glob("damaged.*"))) == len(before)
    (run / "manifest.json").write_text("{")
    with pytest.warns(UserWarning, match=r"manifest\.json' is damaged"):
        resume(tiny, run)
    assert not list((run / "checkpoints").glob("damaged.*"))
    assert compare_runs.differences(run, undisturbed) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_damaged_descriptions_are_refused(tmp_path, content):
    settings = {"experiment.Training.seed": "0"}
    with RunFolder.claim(tmp_path / "run", settings) as folder:
        folder.open("", "")
        folder.close({"status": "finished"})
        folder.result.write_text(content)
        with pytest.raises(ValueError, match=r"result\.json' is damaged.*Remove this file"):
            folder.read_result()
    folder.begun.write_text(content)
    for _ in range(2):  # The first error releases the lock.
        with pytest.raises(ValueError, match=r"run\.json' is damaged.*Restore it; or start again"):
            RunFolder.claim(tmp_path / "run", settings)


@pytest.mark.slow
def test_missing_curves_give_a_warning_and_leftovers_are_removed(tiny, run):
    shutil.rmtree(run / "tensorboard")
    (run / "checkpoints" / "unfinished.000099-step-8").mkdir()
    with (
        pytest.warns(UserWarning, match="Curves before this point are missing"),
        pytest.warns(UserWarning, match="resumes after step 6, and the steps 2:6 are already done"),
    ):
        assert resume(tiny, run, profile_steps=(2, 6))["status"] == "finished"
    assert not list((run / "checkpoints").glob("unfinished*"))


def test_another_configuration_is_refused_with_the_differences(tiny, run):
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match="another configuration") as caught:
        resume(tiny, run, learning_rate=0.2, epochs=3, steps=None)
    for line in (
        "experiment.Optimization.learning_rate: 0.1 in the folder, 0.2 now",
        "experiment.Training.epochs: None in the folder, 3 now",
        "experiment.Training.steps: 10 in the folder, None now",
    ):
        assert line in str(caught.value)
    assert "seed" not in str(caught.value)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_another_version_is_refused(tiny, run):
    about = json.loads((run / "checkpoints" / "run.json").read_text())
    (run / "checkpoints" / "run.json").write_text(json.dumps({**about, "mtk": "9.9"}))
    with pytest.raises(ValueError, match=r"started by mtk 9\.9 \(format 3\)"):
        resume(tiny, run)
