"""The live table that a terminal shows during a search."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from fake_engine import FakeEngine
from searches import RATE

from mtk.analysis import hypervolume
from mtk.search import Found, Front, Preference, Space, Tried, live
from mtk.study import StudyFolder
from mtk.study.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def found_with(space, rows, goal=None):
    """Returns a search result with trials of the given losses and rungs."""
    trials = []
    for number, (losses, rung) in enumerate(rows):
        point = space.at(np.array([0.5, 0.5]), {RATE: 0.1})
        named = None if losses is None else dict(zip(space.tasks, losses, strict=True))
        trials.append(Tried(point, named, [Path(f"runs/run{number}")], rung))
    return Found(Path("study"), space, goal or Front(), trials, 0)


ROWS = [
    ((0.0, 1.0), None),
    ((9.0, 9.0), 10),
    (None, None),
    ((1.0, 0.0), None),
    ((2.0, 2.0), None),
    ((0.5, 0.5), None),
]


def test_curve_sums_all_costs_and_values_complete_trials(space):
    seconds = {f"run{number}": 10.0 for number in range(6)}
    points = live.curve(found_with(space, ROWS), seconds)
    assert [point.seconds for point in points] == [10, 40, 50, 60]
    assert [point.value for point in points] == sorted(point.value for point in points)
    corner = np.array([1.1, 1.1])
    front = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]])
    assert points[-1].value == pytest.approx(hypervolume(front, corner) / 1.21)
    assert points[0].value == pytest.approx(hypervolume(front[:1], corner) / 1.21)


def test_curve_is_empty_without_complete_trials(space):
    found = found_with(space, ROWS[1:3])
    assert live.curve(found, {}) == []
    assert len(live.Live(found).table([])) == 1


def test_bars_are_spaced_by_cpu_time():
    points = [live.Point(1.0, 0.0), live.Point(8.0, 0.5), live.Point(16.0, 1.0)]
    assert live.bars(points) == "▁▁▁▁▁▁▁▅▅▅▅▅▅▅▅█"
    assert live.bars([live.Point(16.0, 3.0)]) == " " * 15 + "▁"
    assert len(live.bars([live.Point(0.0, 3.0)])) == 16


def test_long_fronts_are_truncated(space):
    rows = [((float(n), 20.0 - n), None) for n in range(20)]
    view = live.Live(found_with(space, rows))
    assert ["and 8 more"] in view.rows
    assert len(view.rows) == 1 + 12 + 1 + 1


@pytest.mark.parametrize(
    ("goal", "named"), [(None, "hypervolume"), (Preference({"left": 1.0}), "goal")]
)
def test_terminal_shows_front_hypervolume_and_active_runs(folder, goal, named):
    def outcome(path, run, number):
        folder.outcome(path, run, number)
        StudyFolder(path).run_log.note(run, "finished", 1.0, cpu_seconds=30.0)

    stream = Terminal()
    progress = Progress(stream)
    folder.searcher(goal=goal).go(FakeEngine(outcome), progress)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "w(left)" in shown
    assert "★ " in shown
    assert "running " in shown
    assert re.search(rf"{named} +-?[0-9.]+ .*3:00 CPU", shown)


def test_table_without_weights():
    space = Space(["left", "right"], weights=None, log_uniform={RATE: (0.01, 1.0)})
    trial = Tried({RATE: 0.1}, {"left": 1.0, "right": 2.0}, [Path("runs/run0")])
    head, row, _ = live.Live(Found(Path("study"), space, Front(), [trial], 0)).rows
    assert head == ["", "learning_rate", "loss(left)", "loss(right)"]
    assert row[1:] == ["0.1", "1", "2"]
