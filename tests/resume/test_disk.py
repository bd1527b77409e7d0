"""Run folders that cannot be written, for a time or at all."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import likeness
import pytest
from application_runs import start

from mtk import callbacks
from mtk.experiment.checkpointing import Checkpointing


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a small file system in memory; who may not mount skips the test."""
    with contextlib.ExitStack() as stack:

        def mount(*options):
            place = tmp_path / "mounted"
            place.mkdir(exist_ok=True)
            command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(place)]
            if subprocess.run(command, capture_output=True).returncode:
                pytest.skip("mounting is not allowed here")
            stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
            return place

        yield mount


def fill(monkeypatch, ballast, full, free=None):
    """Fills the disk at step `full`, and makes room again at step `free`."""
    original = Checkpointing.stepped

    def stepped(self, logs):
        if self.step == full:
            self.writer.wait()
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(512))
        if self.step == free:
            ballast.unlink()
        original(self, logs)

    monkeypatch.setattr(Checkpointing, "stepped", stepped)


@pytest.mark.slow
def test_full_disk_stops_no_training(tiny, tmp_path, monkeypatch, mounted):
    start(tiny, tmp_path / "undisturbed", steps=18, checkpoint_every=0.0)
    place = mounted("size=8m")
    fill(monkeypatch, place / "ballast", full=5, free=14)
    with pytest.warns(UserWarning, match=r"No space left.*0\.0 MB are free.*goes on") as found:
        start(tiny, place / "run", steps=18, checkpoint_every=0.0)
    texts = " ".join(str(warning.message) for warning in found)
    for part in ("selected.weights.h5 waits", "Curves lose points"):
        assert part in texts
    differences = likeness.differences(place / "run", tmp_path / "undisturbed")
    # The curves have a gap. Nothing else is missing.
    assert [text for text in differences if not text.startswith("curve")] == []

    # Without room until the end: a clear error, and a sound folder.
    fill(monkeypatch, place / "ballast", full=15)
    with (
        pytest.warns(UserWarning, match="No space left"),
        pytest.raises(OSError, match=r"has stopped: .*give the same command again"),
    ):
        start(tiny, place / "again", steps=18, checkpoint_every=0.0)
    (place / "ballast").unlink()
    monkeypatch.undo()
    start(tiny, place / "again", steps=18, checkpoint_every=0.0)
    differences = likeness.differences(place / "again", tmp_path / "undisturbed")
    assert [text for text in differences if not text.startswith("curve")] == []


def test_lines_wait_for_room_and_are_written_in_order(tmp_path):
    log = callbacks.MetricsLog(tmp_path / "missing" / "metrics.jsonl")
    log.set_model(SimpleNamespace(task_names=[]))
    for step in (1, 2):
        with pytest.warns(UserWarning, match="waits for room"):
            log.write("train", {"loss": 0.5}, step)
    with pytest.raises(OSError, match="missing"):
        log.flush()
    # The state of a checkpoint has them too.
    other = callbacks.MetricsLog(log.path)
    other.set_state(log.get_state())
    log.path.parent.mkdir()
    other.flush()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert other.unwritten == ""


def test_half_a_line_is_taken_back(tmp_path, monkeypatch):
    log = callbacks.MetricsLog(tmp_path / "metrics.jsonl")
    log.path.write_text("before\n")
    log.unwritten = "a new line\n"
    original = Path.open

    def half(self, *arguments, **others):
        with original(self, *arguments, **others) as file:
            file.write("a n")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", half)
        with pytest.raises(OSError, match="No space left"):
            log.flush()
    assert log.path.read_text() == "before\n"
    log.flush()
    assert log.path.read_text() == "before\na new line\n"


def test_full_disk_before_the_first_checkpoint_ends_the_run(tiny, monkeypatch, mounted):
    place = mounted("size=2m")
    fill(monkeypatch, place / "ballast", full=1)
    with pytest.raises(OSError, match=r"There is no earlier one"):
        start(tiny, place / "run", checkpoint_every=0.0)


def never():
    raise AssertionError("The data must not be loaded.")


def test_read_only_place_is_refused_before_anything(mounted):
    with pytest.raises(ValueError, match="cannot be made"):
        start(never, mounted("ro") / "run")


def test_read_only_run_folder_is_refused_before_anything(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "lock").touch()
    original = os.open

    def read_only(path, flags, *arguments, **others):
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system", str(path))
        return original(path, flags, *arguments, **others)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OSError, match="Read-only file system"):
        start(never, tmp_path)
