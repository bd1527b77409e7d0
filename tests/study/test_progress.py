import dataclasses
import io
import json
import re

import pytest
from fake_engine import FakeEngine, finish

from mtk import monitor
from mtk.display import counted
from mtk.study import StudyError, StudyFolder, summary, tail
from mtk.study.progress import Progress
from mtk.study.run_log import Estimate

RATE = "experiment.Optimization.learning_rate"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_table_has_a_row_per_run_with_the_varied_parameters(make_sweep):
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
    assert rows[1].endswith("pending")


def test_numbers_of_runs_are_shown_by_method_and_in_total(make_sweep):
    text = make_sweep(fresh_seeds=2).describe(slots=2)
    # Of the static weights the best learning rate, of the method at most both.
    assert "small: 4 runs and at most 6 more (4 pending)" in text
    assert "  static_weights: 2" in text


def test_equal_runs_are_reported(make_sweep, capsys):
    sweep = make_sweep(grid={RATE: [0.1, 0.1, 0.3]})
    assert "2 runs are equal to other runs and will be run only once" in sweep.describe(slots=1)
    assert "small: 4 runs" in sweep.describe(slots=1)
    sweep.go(FakeEngine())
    assert "2 runs are equal to other runs" in capsys.readouterr().err
    remarks = json.loads(sweep.folder.list.read_text())["remarks"]
    assert "2 runs are equal to other runs" in remarks[0]


@pytest.mark.parametrize(
    ("minutes", "slots", "time"),
    [(3, 1, "12:00"), (3, 2, "6:00"), (3, 100, "3:00"), (90, 2, "3:00:00"), (7200, 2, "10 days")],
)
def test_time_is_estimated_from_run_minutes(make_sweep, minutes, slots, time):
    text = make_sweep(run_minutes=float(minutes)).describe(slots)
    runs = "1 run" if slots == 1 else f"{slots} runs"
    source = "based on the `run_minutes` of the study"
    assert f"estimated time: {time} with {runs} at a time, {source}" in text


def test_time_is_estimated_from_finished_runs(make_sweep):
    sweep = make_sweep()
    assert "estimated time: unknown" in sweep.describe(slots=1)
    static, gradnorm = sweep.runs[0], sweep.runs[2]
    for run, seconds in ((static, 100.0), (gradnorm, 220.0)):
        sweep.folder.add(sweep.study, sweep.runs)
        finish(sweep.folder.path, run.hash)
        sweep.folder.run_log.note(run.hash, "finished", seconds)
    assert (
        "estimated time: 5:20 with 1 run at a time, based on the time of finished runs"
        in sweep.describe(1)
    )


def test_estimate_falls_back_from_method_to_all_runs_to_run_minutes(make_sweep):
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


def test_progress_is_one_line_per_event_without_a_terminal(make_sweep):
    stream = io.StringIO()
    make_sweep(run_minutes=1.0).go(FakeEngine(slots=1), progress=Progress(stream))
    lines = [line for line in stream.getvalue().splitlines() if " done, " in line]
    assert [line.split(" done")[0] for line in lines] == ["1/4", "2/4", "3/4", "4/4"]
    told = r"0:00 left · \w+, learning_rate 0\.[13], seed 0 \([0-9a-f]{8}\): finished, .*mean_loss"
    assert all(re.search(told, line) for line in lines)
    assert not re.search("[\r\x1b]", stream.getvalue())


def by_rate(sweep, losses):
    """Returns an engine whose runs have losses by learning rate."""
    rates = {run.hash: run.point[RATE] for run in sweep.runs}

    def outcome(folder, run, number):
        finish(folder, run, losses=(losses[rates[run]],) * 2)

    return FakeEngine(outcome, slots=1)


def test_best_so_far_is_marked_and_summary_lists_the_best_of_each_method(make_sweep):
    stream, sweep = io.StringIO(), make_sweep(seeds=[0, 1])
    sweep.go(by_rate(sweep, {0.1: 0.5, 0.3: 0.25}), progress=Progress(stream))
    lines = [line for line in stream.getvalue().splitlines() if " done, " in line]
    assert len(lines) == len(sweep.runs) == 8
    for line in lines:
        star = "★ " if "seed 0" in line else ""  # Seed 1 has the same loss, which is not better.
        loss = 0.25 if "learning_rate 0.3" in line else 0.5
        assert f"finished, {star}mean_loss {loss}, " in line
    head, *rows = stream.getvalue().splitlines()[-5:-2]
    assert head.split() == ["method", "finished", "best", "with"]
    for row, method in zip(rows, ("static_weights", "gradnorm"), strict=True):
        assert row.split() == [
            method,
            "4",
            "mean_loss",
            "0.25",
            "learning_rate",
            "0.3,",
            "2",
            "seeds",
        ]


def test_best_is_selected_in_the_first_stage(make_sweep):
    """As in the report's advice; fresh seeds are only added to the mean."""
    static = [run for run in make_sweep().runs if run.method == "static_weights"]
    losses = {(0, 0): 0.2, (0, 1): 0.9, (1, 0): 0.3, (1, 1): 0.1}
    runs, said = [], {}
    for (place, seed), loss in losses.items():
        name = f"{place}{seed}"
        stage = "measure" if seed else "select"
        runs.append(dataclasses.replace(static[place], hash=name, seed=seed, stage=stage))
        said[name] = monitor.Selected("mean_loss", "min", loss, {})
    (_, row) = summary.best(runs, said)
    best = static[0].point[RATE]
    assert row == [
        "static_weights",
        "4",
        "mean_loss 0.55",
        f"learning_rate {best:g}, 2 seeds",
    ]


def test_methods_with_different_monitors_have_no_best(make_sweep):
    runs = make_sweep().runs
    said = [monitor.Selected(name, "min", 0.1, {}) for name in ("a", "b", "c", "c")]
    found = summary.best(runs, {r.hash: s for r, s in zip(runs, said, strict=True)})
    assert [row[0] for row in found] == ["method", "gradnorm"]
    assert summary.best(runs, {}) == []


def test_progress_counts_the_runs_of_the_second_stage(make_sweep):
    stream = io.StringIO()
    make_sweep(fresh_seeds=2).go(FakeEngine(slots=1), progress=Progress(stream))
    lines = [line for line in stream.getvalue().splitlines() if " done, " in line]
    # At most ten; all losses are equal, so that no model of the method dominates another.
    assert [line.split(" done")[0] for line in lines] == [f"{i}/10" for i in range(1, 11)]


@pytest.mark.parametrize("colours", [True, False])
def test_progress_is_a_live_table_on_a_terminal(make_sweep, monkeypatch, colours):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    make_sweep().go(FakeEngine(slots=1), progress=Progress(stream))
    text = stream.getvalue()
    assert "4/4 done" in text
    assert "━" in text
    assert "learning_rate 0.1" in text
    assert ("\x1b[32m" in text) == colours  # The best value so far is green.
    assert text.splitlines()[-1].startswith("Report: ")


@pytest.mark.parametrize("number", [1, 3])
def test_max_runs(make_sweep, number):
    engine, stream = FakeEngine(slots=2), io.StringIO()
    assert make_sweep().go(engine, progress=Progress(stream), max_runs=number) == 75
    assert len(engine.started) == number
    assert f"after {counted(number, 'run')}" in stream.getvalue()
    assert make_sweep().go(engine, max_runs=4) == 0
    assert len(engine.started) == 4


def test_only_runs_the_given_methods(make_sweep):
    engine = FakeEngine()
    sweep = make_sweep(only=["gradnorm"], fresh_seeds=2)
    assert "2 runs and at most 4 more" in sweep.describe(slots=1)
    assert sweep.go(engine) == 0
    listed = json.loads(sweep.folder.list.read_text())["runs"]
    assert {entry["method"] for entry in listed} == {"gradnorm"}
    assert {*engine.started} == {entry["hash"] for entry in listed}
    with pytest.raises(StudyError, match="Did you mean 'gradnorm'"):
        make_sweep(only=["gradnrm"])


def test_tail_follows_the_log_of_a_running_run(tmp_path, monkeypatch):
    folder, said = StudyFolder(tmp_path), io.StringIO()
    for name in ("logs", "leases"):
        (tmp_path / name).mkdir()
    for run in ("aa", "bb"):
        folder.log(run).write_text(f"{run} begins\n")
    with pytest.raises(StudyError, match="no running run"):
        tail(tmp_path)
    lease = folder.lease("bb")
    assert lease.acquire()

    def sleep(seconds):
        with folder.log("bb").open("a") as file:
            file.write("goes on\n")
        lease.release()

    monkeypatch.setattr("time.sleep", sleep)
    tail(tmp_path, stream=said)
    assert said.getvalue().splitlines()[1:] == ["bb begins", "goes on", "The run is pending."]
    tail(tmp_path, "a", stream=said)
    assert "aa begins" in said.getvalue()
    with pytest.raises(StudyError, match="'cc'"):
        tail(tmp_path, "cc")
