"""Event files sort by step for TensorBoard, even if the system clock was set back."""

import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtk import event_files
from mtk.callbacks.summary_writer import SummaryWriter
from mtk.checkpoints import AppendOnlyFiles


def name(seconds, rest="host.1.0.v2"):
    return f"events.out.tfevents.{seconds:010}.{rest}"


@pytest.fixture
def set_clock(monkeypatch):
    """Returns a function that sets the clock of the module."""
    return lambda now: monkeypatch.setattr(event_files.time, "time", lambda: float(now))


@pytest.mark.parametrize("clock", [1500, 1999, 2000, 999, 1001, 700])
def test_new_file_is_last_and_the_others_keep_their_order(tmp_path, set_clock, clock):
    made = [1000, 1001, 2000, 2001, 2100]
    for seconds in made:
        (tmp_path / name(seconds)).write_text(str(seconds))
    for now in (clock, clock - 300, clock - 600):  # The clock is set back repeatedly.
        set_clock(now)
        event_files.put_in_order(tmp_path)
        (tmp_path / name(now, "me")).write_text(str(now))
        made.append(now)
        found = sorted(tmp_path.iterdir())
        assert [path.read_text() for path in found] == [str(seconds) for seconds in made]
        set_clock(now + 1)


def test_files_of_one_second_keep_their_order(tmp_path, set_clock):
    set_clock(2000)
    for counter in (8, 9, 10, 11, 99, 100):
        event_files.put_in_order(tmp_path)
        (tmp_path / name(2000, f"host.1.{counter}.v2")).write_text(str(counter))
    found = [path.read_text() for path in sorted(tmp_path.iterdir())]
    assert found == ["8", "9", "10", "11", "99", "100"]


@pytest.mark.parametrize("clock", [2101, 9000])
def test_no_file_is_renamed_if_the_clock_was_not_set_back(tmp_path, set_clock, clock):
    for seconds in (1000, 2000, 2100):
        (tmp_path / name(seconds)).touch()
    (tmp_path / "notes").touch()
    before = sorted(tmp_path.iterdir())
    set_clock(clock)
    event_files.put_in_order(tmp_path)
    event_files.put_in_order(tmp_path / "missing")
    assert sorted(tmp_path.iterdir()) == before


def test_renamed_file_is_identified_by_its_original_name(tmp_path, set_clock):
    (tmp_path / name(2000)).touch()
    for now in (1000, 500):
        set_clock(now)
        event_files.put_in_order(tmp_path)
        (path,) = tmp_path.iterdir()
        assert path.name != name(2000)
        assert event_files.original_name(path.name) == name(2000)


def write(folder, *steps):
    curves = SummaryWriter(folder)
    for step in steps:
        curves.points("train", step, {"x": float(step)})
    curves.flush(steps[-1])


def test_curves_continue_in_order_and_are_cut_at_a_checkpoint(tmp_path):
    curves = tmp_path / "tensorboard"
    files = AppendOnlyFiles(tmp_path, tmp_path / "metrics.jsonl", curves)
    write(curves, 1, 2)
    (first,) = (curves / "train").iterdir()
    later = first.rename(first.with_name(name(int(time.time()) + 5000)))  # The clock was ahead.
    lengths = files.lengths()
    write(curves, 3)
    write(curves, 4)
    assert not later.exists()
    assert len(files.lengths()) == 3
    shown = EventAccumulator(str(curves / "train")).Reload()
    assert [event.step for event in shown.Tensors("x")] == [1, 2, 3, 4]
    files.flush(lengths)
    files.cut(lengths)
    assert files.lengths() == lengths
    shown = EventAccumulator(str(curves / "train")).Reload()
    assert [event.step for event in shown.Tensors("x")] == [1, 2]
