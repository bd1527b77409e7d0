"""Run folders that cannot be written, temporarily or permanently."""

import contextlib
import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path
from types import SimpleNamespace

import compare_runs
import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import start
from crashes import AugmentedDigits

from mtk import callbacks, export, resources
from mtk.experiment.checkpointing import Checkpointing


def fill(monkeypatch, ballast, full, free=None):
    """Fills the disk at step `full`, and frees the space at step `free`."""
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
def test_full_disk_does_not_stop_training(tiny, tmp_path, monkeypatch, mounted):
    start(tiny, tmp_path / "undisturbed", steps=18, every=0.0)
    place = mounted("size=8m")
    fill(monkeypatch, place / "ballast", full=5, free=14)
    with pytest.warns(UserWarning, match=r"No space left.*0\.0 MB are free.*goes on") as found:
        start(tiny, place / "run", steps=18, every=0.0)
    texts = " ".join(str(warning.message) for warning in found)
    for part in ("selected.weights.h5 waits", "TensorBoard curves lack points"):
        assert part in texts
    differences = compare_runs.differences(place / "run", tmp_path / "undisturbed")
    # The curves have a gap. Nothing else is missing.
    assert [text for text in differences if not text.startswith("curve")] == []

    # Without space until the end: a clear error, and a folder that can be resumed.
    fill(monkeypatch, place / "ballast", full=15)
    with (
        pytest.warns(UserWarning, match="No space left"),
        pytest.raises(OSError, match=r"has stopped: .*run the same command again"),
    ):
        start(tiny, place / "again", steps=18, every=0.0)
    (place / "ballast").unlink()
    monkeypatch.undo()
    start(tiny, place / "again", steps=18, every=0.0)
    differences = compare_runs.differences(place / "again", tmp_path / "undisturbed")
    assert [text for text in differences if not text.startswith("curve")] == []


def test_lines_wait_for_disk_space_and_are_written_in_order(tmp_path):
    log = callbacks.MetricsLog(tmp_path / "missing" / "metrics.jsonl")
    log.set_model(SimpleNamespace(task_names=[]))
    for step in (1, 2):
        with pytest.warns(UserWarning, match="cannot be written until there is disk space"):
            log.write("train", {"loss": 0.5}, step)
    with pytest.raises(OSError, match="missing"):
        log.flush()
    # The state of a checkpoint contains them, too.
    other = callbacks.MetricsLog(log.path)
    other.set_state(log.get_state())
    log.path.parent.mkdir()
    other.flush()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert other.unwritten == ""


def test_partial_line_is_removed(tmp_path, monkeypatch):
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
    with pytest.raises(OSError, match=r"There is no earlier checkpoint"):
        start(tiny, place / "run", every=0.0)


def start_silently(*arguments, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return start(*arguments, **settings)


def ballast(place, free):
    """Fills a file system except for `free` MiB."""
    about = os.statvfs(place)
    with (place / "ballast").open("wb") as file:
        file.write(bytes(about.f_bavail * about.f_frsize - int(free * 2**20)))
    return place / "ballast"


SIZES = (0.0, 0.9, 1.0, 1.2)


@pytest.fixture(scope="module")
def large_network():
    """A network with weights of 1.05 MB."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((256,)), keras.layers.Dense(1024)])


def selection_of(network, path):
    selection = callbacks.BestCheckpoint(path)
    selection.set_model(network)
    selection.begin()
    return selection


@pytest.mark.parametrize("free", SIZES)
def test_weights_and_exports_on_a_nearly_full_disk(large_network, mounted, free):
    place = mounted("size=6m")
    filled = ballast(place, free)
    selection = selection_of(large_network, place / "best.weights.h5")
    with (
        contextlib.nullcontext()
        if free > 1.1
        else pytest.warns(UserWarning, match="cannot be written until")
    ):
        selection._keep({}, 0.5)
    for write, name in ((export.export, "saved_model"), (export.save_keras, "model.keras")):
        with pytest.raises(OSError, match=r"Errno 28.*"):
            write(large_network, place / name)
    complete = {"best.weights.h5"} if free > 1.1 else set()
    assert {path.name for path in place.iterdir()} == {"ballast", *complete}

    before = [variable.numpy() for variable in large_network.variables]
    filled.unlink()
    selection.flush()
    export.export(large_network, place / "saved_model")
    export.save_keras(large_network, place / "model.keras")
    large_network.load_weights(place / "best.weights.h5")
    for variable, values in zip(large_network.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)


def full(*_, **__):
    message = "{{function_node a}} b; No space left [Op:c]\nmore"
    raise tf.errors.ResourceExhaustedError(None, None, message)


def test_tensorflow_errors_become_os_errors(large_network, tmp_path, monkeypatch):
    monkeypatch.setattr(tf.saved_model, "save", full)
    said = r"\] No space left on device; .* changed: '\S*made'$"
    with pytest.raises(OSError, match=said) as caught:
        export.export(large_network, tmp_path / "made")
    assert resources.is_full(caught.value)
    assert not list(tmp_path.iterdir())


def test_delayed_weights_are_those_of_their_step(tmp_path, monkeypatch):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    selection = selection_of(network, tmp_path / "best.weights.h5")

    def no_room(self, data):
        raise OSError(28, "No space left on device")

    network.set_weights([np.full((2, 1), 7.0)])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_room)
        with pytest.warns(UserWarning, match="cannot be written until there is disk space"):
            selection._keep({}, 0.5)
    network.set_weights([np.zeros((2, 1))])
    selection.flush()
    network.load_weights(selection.path)
    np.testing.assert_array_equal(network.get_weights()[0], np.full((2, 1), 7.0))


@pytest.mark.slow
@pytest.mark.parametrize("free", [*SIZES, 0.2, 0.35])
def test_run_on_a_nearly_full_disk_ends_with_a_clear_error_and_resumes(tmp_path, mounted, free):
    """The network of the README's first command: 1.2 MB in all."""

    def workload():
        return AugmentedDigits(partners=1)

    start(workload, tmp_path / "undisturbed", steps=8)
    place = mounted("size=8m")
    filled = ballast(place, free)
    with pytest.raises(OSError, match=r"No space left|Not enough disk space for") as caught:
        start_silently(workload, place / "run", steps=8)
    assert resources.is_full(caught.value)
    filled.unlink()
    start(workload, place / "run", steps=8)
    differences = compare_runs.differences(place / "run", tmp_path / "undisturbed")
    assert [text for text in differences if not text.startswith("curve")] == []


@pytest.mark.slow
def test_disk_space_is_checked_before_exports(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "free", lambda path: 1000)
    with pytest.raises(OSError, match=r"has stopped: .*saved_model and model\.keras.*again when"):
        start(tiny, tmp_path / "run", steps=2, evaluate_every=2)
    assert not (tmp_path / "run" / "saved_model").exists()
    monkeypatch.undo()
    assert start(tiny, tmp_path / "run", steps=2, evaluate_every=2)["status"] == "finished"


@pytest.mark.slow
def test_folder_removed_during_its_run(tiny, tmp_path, monkeypatch):
    original = Checkpointing.stepped

    def stepped(self, logs):
        if self.step == 3:
            self.writer.wait()
            shutil.rmtree(self.folder.path)
        original(self, logs)

    monkeypatch.setattr(Checkpointing, "stepped", stepped)
    with pytest.raises(OSError, match=r"'.*/run' was removed or moved during the run"):
        start_silently(tiny, tmp_path / "run", steps=6, every=0.0)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_finished_run_on_a_read_only_file_system_is_shown(tiny, undisturbed, tmp_path, bind):
    run = shutil.copytree(undisturbed, tmp_path / "run")
    bind(run, run)
    subprocess.run(["mount", "-o", "remount,bind,ro", run], check=True)
    assert start(tiny, run, every=0.0) == json.loads((run / "result.json").read_text())
    with pytest.raises(ValueError, match="another configuration"):
        start(tiny, run, every=0.0, steps=4)


def must_not_load():
    raise AssertionError("The data must not be loaded.")


def test_read_only_parent_is_refused_before_data_are_loaded(mounted):
    with pytest.raises(ValueError, match="cannot be created"):
        start(must_not_load, mounted("ro") / "run")


def test_read_only_run_folder_is_refused_before_data_are_loaded(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "lock").touch()
    original = os.open

    def read_only(path, flags, *arguments, **others):
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system", str(path))
        return original(path, flags, *arguments, **others)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(OSError, match="Read-only file system"):
        start(must_not_load, tmp_path)
