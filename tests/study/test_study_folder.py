import json
import math
import os

import pytest
from fake_engine import FakeEngine, finish, save

from mtk.study import State, Study, StudyError, StudyFolder


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "study")


def test_states_of_a_run(folder):
    assert folder.state("a") is State.PENDING
    folder.lease("a").path.parent.mkdir(parents=True)
    lease = folder.lease("a")
    # A lock of the same process counts too, since each opens the file anew.
    assert lease.acquire()
    assert folder.state("a") is State.RUNNING
    lease.release()
    assert folder.state("a") is State.PENDING
    folder.fail("a", "no data\nat all")
    assert folder.state("a") is State.FAILED
    assert folder.reason("a") == "no data\nat all"
    folder.reset_failed("a")
    assert folder.state("a") is State.PENDING
    for status, state in (
        ("finished", State.FINISHED),
        ("diverged", State.DIVERGED),
        ("mad", State.DAMAGED),
    ):
        finish(folder.path, "a", status)
        assert folder.state("a") is state


def test_result_of_another_run_counts_as_damaged(folder):
    for run in ("a", "b"):
        finish(folder.path, run, "finished")
        path = folder.run_dir(run) / "result.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "run": f"hash of {run}"}))
        (folder.run_dir(run) / "checkpoints").mkdir()
        about = {"hash": f"hash of {run}"}
        (folder.run_dir(run) / "checkpoints" / "run.json").write_text(json.dumps(about))
        assert folder.state(run) is State.FINISHED
    path.write_bytes((folder.run_dir("a") / "result.json").read_bytes())
    assert (folder.state("a"), folder.state("b")) == (State.FINISHED, State.DAMAGED)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"status": 3}', "\x00\x01", '{"status": "finished"}'),
        '{"status": "finished", "validation": {"tasks": {"left": 3}}}',
        '{"status": "finished", "validation": {"tasks": {"left": {"loss": "low"}}}}',
        '{"status": "finished", "validation": {"tasks": {"left": {"loss": 1%s}}}}' % ("0" * 400),
    ],
)
def test_damaged_result_is_reported_and_not_repeated(make_sweep, folder, content, capsys):
    sweep = make_sweep()
    bad = sweep.runs[1].hash
    folder.run_dir(bad).mkdir(parents=True)
    (folder.run_dir(bad) / "result.json").write_text(content)
    engine = FakeEngine()
    assert sweep.go(engine) == 1
    assert sorted(engine.started) == sorted(r.hash for r in sweep.runs if r.hash != bad)
    said = capsys.readouterr().err
    assert f"{bad}: result.json is damaged or belongs to another run; remove only this file" in said
    assert "3 runs finished, 0 diverged, 0 failed, 1 damaged." in said
    assert "--retry_failed" not in said
    assert (folder.run_dir(bad) / "result.json").read_text() == content


@pytest.mark.parametrize("name", ["logs", "leases", "logs/{run}.log"])
def test_pipe_in_a_study_raises_without_blocking(make_sweep, folder, name):
    sweep = make_sweep()
    path = folder.path / name.format(run=sweep.runs[0].hash)
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    with pytest.raises(StudyError, match="Move it away"):
        sweep.go(FakeEngine())


def test_invalid_lines_of_the_run_log_are_skipped(folder):
    folder.path.mkdir()
    folder.run_log.note("a", "finished", 1.0)
    with folder.run_log.path.open("a") as file:
        for seconds in ("NaN", '"inf"', "1" + "0" * 400, "[1]"):
            file.write('{"run": "a", "event": "finished", "seconds": ' + seconds + "}\n")
        file.write('{"run": [1], "event": {}, "seconds": 1}\n')
    assert folder.run_log.seconds() == {"a": 1.0}
    assert folder.run_log.cpu_seconds()["a"] == 1.0
    assert folder.run_log.last("a") == "finished"


def test_list_keeps_runs_of_earlier_sweeps(make_sweep, folder):
    make_sweep().go(FakeEngine())
    before = {e["hash"]: e for e in json.loads(folder.list.read_text())["runs"]}
    make_sweep(grid={"experiment.Optimization.learning_rate": [0.5]}, seeds=[1]).go(FakeEngine())
    content = json.loads(folder.list.read_text())
    after = {entry["hash"]: entry for entry in content["runs"]}
    assert len(content["runs"]) == len(after) == 6
    assert all(after[run] == before[run] for run in before)
    assert content["baseline"] == "static_weights"
    new = [after[run] for run in after if run not in before]
    assert [(e["method"], e["seed"]) for e in new] == [("static_weights", 1), ("gradnorm", 1)]
    assert all(e["bindings"] == {"experiment.Optimization.learning_rate": 0.5} for e in new)


def test_folder_of_another_study_raises(make_sweep):
    make_sweep().go(FakeEngine())
    with pytest.raises(StudyError, match="contains the study 'small', not 'other'"):
        make_sweep(name="other")


@pytest.mark.parametrize("content", ["", "[1]", '{"runs": 3}', '{"runs": [{}]}'])
def test_damaged_list_raises(make_sweep, folder, content):
    make_sweep().go(FakeEngine())
    folder.list.write_text(content)
    with pytest.raises(StudyError, match="is damaged. Remove it"):
        make_sweep()
    folder.list.unlink()
    engine = FakeEngine()
    assert make_sweep().go(engine) == 0
    assert engine.started == []


def test_configs_are_written_for_every_run(make_sweep, folder):
    sweep = make_sweep()
    sweep.go(FakeEngine())
    assert sorted(p.name for p in (folder.path / "configs").iterdir()) == sorted(
        f"{run.hash}.gin" for run in sweep.runs
    )
    for run in sweep.runs:
        assert folder.config(run.hash).read_text() == run.text


def test_run_log_sums_the_sessions_of_completed_runs(folder):
    folder.path.mkdir()
    notes = [("a", "interrupted", 2.0), ("a", "finished", 3.0), ("b", "interrupted", 9.0)]
    for note in [*notes, ("c", "diverged", 1.0), ("d", "failed", 7.0)]:
        folder.run_log.note(*note)
    with folder.run_log.path.open("a") as file:
        file.write('not a line\n{"run": "e"}\n{"run": "f", "event": "finished", "sec')
    found = folder.run_log.seconds()
    assert found.keys() == {"a", "c"}
    assert math.isclose(found["a"], 5.0)
    assert math.isclose(found["c"], 1.0)


def test_progress_is_that_of_the_newest_checkpoint(folder):
    assert folder.newest_checkpoint("a") == ""
    save(folder.path, "a")
    first = folder.newest_checkpoint("a")
    save(folder.path, "a")
    assert folder.newest_checkpoint("a") > first > ""


@pytest.mark.parametrize("name", ["study.json", "run_log.jsonl", "configs/a.gin", "logs/a.log"])
def test_symlinks_in_a_study_folder_are_not_written_through(folder, tmp_path, name):
    link = folder.path / name
    link.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("of others")
    link.symlink_to(tmp_path / "precious")
    study = Study("small", ("a.gin",), {"static_weights": "b.gin"})
    with pytest.raises(ValueError, match=f"{name}' is a symbolic link"):
        folder.listed(study)
