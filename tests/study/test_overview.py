import io
import json
import re

import pytest
from fake_engine import FakeEngine, finish

from mtk.study.board import Board, left_in_words
from mtk.study.estimate import Estimate

RATE = "experiment.Optimization.learning_rate"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_table_has_a_row_for_each_run_with_what_differs(make_sweep):
    alphas = {"gradnorm": {"combiners.GradNorm.alpha": [0.5, 1.5]}}
    sweep = make_sweep(method_grids=alphas, seeds=[0, 7])
    finish(sweep.folder.path, sweep.runs[0].hash)
    head, *rows = sweep.describe(slots=2).split("\n\n")[0].splitlines()
    assert head.split() == ["run", "method", "seed", "learning_rate", "alpha", "state"]
    assert len(rows) == len(sweep.runs) == 12
    for row, run in zip(rows, sweep.runs, strict=True):
        cells = row.split()
        assert cells[:3] == [run.hash, run.method, str(run.seed)]
        assert cells[3] == f"{run.point[RATE]:g}"
    assert rows[0].endswith("finished")
    assert rows[1].endswith("to do")


def test_number_of_runs_is_told_by_method_and_in_all(make_sweep):
    text = make_sweep(fresh_seeds=2).describe(slots=2)
    # Of the static weights the best learning rate, of the method up to both.
    assert "small: 4 runs and at most 6 more (4 to do)" in text
    assert "  static_weights: 2" in text


def test_equal_runs_are_said(make_sweep, capsys):
    sweep = make_sweep(grid={RATE: [0.1, 0.1, 0.3]})
    assert "2 runs are equal to others and done once" in sweep.describe(slots=1)
    assert "small: 4 runs" in sweep.describe(slots=1)
    sweep.go(FakeEngine())
    assert "2 runs are equal to others" in capsys.readouterr().err
    remarks = json.loads(sweep.folder.list.read_text())["remarks"]
    assert "2 runs are equal to others" in remarks[0]


@pytest.mark.parametrize(
    ("minutes", "slots", "time"),
    [(3, 1, "12:00"), (3, 2, "6:00"), (3, 100, "3:00"), (90, 2, "3:00:00"), (7200, 2, "10 days")],
)
def test_time_is_reckoned_from_what_the_study_says(make_sweep, minutes, slots, time):
    text = make_sweep(run_minutes=float(minutes)).describe(slots)
    assert f"estimated time: {time}, {slots} at a time, by the study's `run_minutes`" in text


def test_time_is_reckoned_from_what_runs_took(make_sweep):
    sweep = make_sweep()
    assert "estimated time: unknown" in sweep.describe(slots=1)
    static, gradnorm = sweep.runs[0], sweep.runs[2]
    for run, seconds in ((static, 100.0), (gradnorm, 220.0)):
        sweep.folder.add(sweep.study, sweep.runs)
        finish(sweep.folder.path, run.hash)
        sweep.folder.journal.note(run.hash, "finished", seconds)
    assert "estimated time: 5:20, 1 at a time, by what finished runs took" in sweep.describe(1)


def test_estimate_falls_back_from_method_to_all_to_what_is_expected(make_sweep):
    static, _, gradnorm, _ = make_sweep().runs
    estimate = Estimate({}, [static, gradnorm])
    assert estimate.of(static) is None
    assert estimate.total([static], 1) is None
    assert estimate.total([], 1) == 0
    assert Estimate({}, [], 9.0).of(static) == 9.0
    estimate.add(gradnorm, 4.0)
    assert estimate.of(static) == estimate.of(gradnorm) == 4.0
    estimate.add(static, 2.0)
    assert estimate.of(static) == 2.0
    assert estimate.total([static, static, gradnorm], 2) == 4.0


def test_progress_is_a_line_an_event_elsewhere(make_sweep):
    stream = io.StringIO()
    make_sweep(run_minutes=1.0).go(FakeEngine(slots=1), board=Board(stream))
    lines = [line for line in stream.getvalue().splitlines() if " done, " in line]
    assert [line.split(" done")[0] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    assert all(re.search(r"0:00 left · \w+ [0-9a-f]{8}: finished after 0 s", x) for x in lines)


def test_progress_counts_what_will_follow(make_sweep):
    stream = io.StringIO()
    make_sweep(fresh_seeds=2).go(FakeEngine(slots=1), board=Board(stream))
    lines = [line for line in stream.getvalue().splitlines() if " done, " in line]
    # At most ten; the losses are all alike, so that no model of the method dominates another.
    assert [line.split(" done")[0] for line in lines] == [f"{i}/10" for i in range(1, 11)]


def test_progress_is_a_bar_on_a_terminal(make_sweep):
    stream = Terminal()
    make_sweep().go(FakeEngine(slots=1), board=Board(stream))
    text = stream.getvalue()
    assert "\r[████████████████████████] 4/4 done" in text
    assert "\r[            " in text or "\r[██████     " in text
    assert left_in_words(None) in text or "0:00 left" in text
