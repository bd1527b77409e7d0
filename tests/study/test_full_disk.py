"""A sweep on a full disk: no run is marked as failed."""

import errno
import io
import os
import subprocess

import pytest
from fake_engine import FakeEngine, finish
from gin.utils import augment_exception_message_and_reraise

from mtk import config, experiment
from mtk.study import State, StudyFolder, worker
from mtk.study.progress import Progress
from mtk.study.run_log import FULL, RunLog


def test_sweep_stops_on_a_full_disk_and_continues_later(make_sweep):
    sweep, said = make_sweep(), io.StringIO()
    third = sweep.runs[2].hash

    def outcome(folder, run, number):
        if run == third:
            sweep.folder.run_log.note(run, FULL, 1.0)
        else:
            finish(folder, run)

    engine = FakeEngine(outcome, slots=1)
    assert sweep.go(engine, progress=Progress(said)) == 75
    assert "MB are free" in said.getvalue()
    assert engine.started == [run.hash for run in sweep.runs[:3]]
    assert sweep.folder.state(third) is State.PENDING
    engine = FakeEngine()
    assert make_sweep().go(engine, progress=Progress(io.StringIO())) == 0
    assert engine.started == [run.hash for run in sweep.runs[2:]]


@pytest.mark.parametrize("by_gin", [False, True])
def test_worker_does_not_mark_a_run_as_failed_on_a_full_disk(make_sweep, monkeypatch, by_gin):
    def launch(*_, **__):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            if by_gin:
                augment_exception_message_and_reraise(error, " In call to configurable")
            raise ValueError("The run folder cannot be made") from error

    monkeypatch.setattr(experiment, "launch", launch)
    sweep = make_sweep()
    sweep.folder.add(sweep.study, sweep.runs)
    run = sweep.runs[0].hash
    assert worker.work(sweep.folder.path, run) == worker.FULL
    assert sweep.folder.state(run) is State.PENDING
    assert sweep.folder.lacks_room(run)
    assert not sweep.folder.lacks_room(sweep.runs[1].hash)
    assert not (sweep.folder.run_dir(run) / "failed.json").exists()


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 75), (errno.EACCES, 2)])
def test_only_a_full_disk_exits_as_resumable(number, code, capsys):
    def command():
        raise OSError(number, os.strerror(number), "file")

    assert config.exit_code(command) == code
    assert "'file'" in capsys.readouterr().err


def test_completely_full_disk(mounted):
    place = mounted("size=1m")
    folder = StudyFolder(place)
    (place / "leases").mkdir()
    assert not folder.lacks_room("some")
    with (place / "ballast").open("wb") as file:
        file.write(bytes(os.statvfs(place).f_bavail * 4096))
    assert folder.lacks_room("some")


def test_finished_study_is_shown_on_a_read_only_file_system(make_sweep, bind):
    sweep = make_sweep()
    assert sweep.go(FakeEngine(), progress=Progress(io.StringIO())) == 0
    bind(sweep.folder.path, sweep.folder.path)
    subprocess.run(["mount", "-o", "remount,bind,ro", sweep.folder.path], check=True)
    said = io.StringIO()
    assert make_sweep().go(FakeEngine(), progress=Progress(said)) == 0
    assert "4 runs finished" in said.getvalue()


def test_line_after_a_truncated_line_is_read(tmp_path):
    run_log = RunLog(tmp_path / "run_log.jsonl")
    run_log.note("a", "finished", 1.0)
    with run_log.path.open("a") as file:
        file.write('{"run": "b", "ev')
    run_log.note("a", FULL, 2.0)
    assert [entry["event"] for entry in run_log.entries()] == ["finished", FULL]
    assert run_log.last("a") == FULL
    assert run_log.last("b") is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_error_on_writing_progress_is_ignored(number):
    class Broken(io.StringIO):
        def write(self, text):
            raise OSError(number, "cannot be written")

    Progress(Broken()).say("text")
