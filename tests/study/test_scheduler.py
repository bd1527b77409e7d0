import io
import os
import random
import signal

import pytest
from fake_engine import FakeEngine, finish, save

from mtk.study import State, scheduler, worker
from mtk.study.engines import Here
from mtk.study.progress import Progress
from tests.quick import some


def test_every_run_is_executed_once_within_the_slots(make_sweep):
    for slots in (1, 2, 3, 10):
        engine = FakeEngine(slots=slots)
        sweep = make_sweep(seeds=range(slots))
        assert sweep.go(engine) == 0
        known = {run.hash for run in sweep.runs}
        assert set(engine.started) <= known
        assert len(engine.started) == len(set(engine.started))
        assert engine.most <= slots
        assert all(sweep.folder.state(run) is State.FINISHED for run in known)


@pytest.mark.parametrize("seed", some(range(20), range(6)))
def test_every_run_ends_despite_random_failures(make_sweep, seed):
    """Runs finish, diverge, fail or are killed at random, and the sweep is restarted repeatedly."""
    draw = random.Random(seed)
    ends = {}

    def outcome(folder, run, number):
        event = draw.choice(["finish", "diverge", "fail", "save", "save", "nothing"])
        if event in ("finish", "diverge"):
            assert run not in ends
            ends[run] = event
            finish(folder, run, "finished" if event == "finish" else "diverged")
        elif event == "fail":
            sweep.folder.fail(run, "bad luck")
        elif event == "save":
            save(folder, run)

    sweep = make_sweep(seeds=range(3))
    for _ in range(100):
        sweep = make_sweep(retry_failed=True, seeds=range(3))
        engine = FakeEngine(outcome, slots=draw.randint(1, 4))
        if sweep.go(engine, progress=Progress(io.StringIO())) == 0:
            break
    assert ends.keys() == {run.hash for run in sweep.runs}
    wanted = {"finish": State.FINISHED, "diverge": State.DIVERGED}
    assert all(sweep.folder.state(run) is wanted[end] for run, end in ends.items())


def test_failed_runs_are_retried_only_on_demand(make_sweep, capsys):
    sweep = make_sweep()
    bad = sweep.runs[2].hash

    def outcome(folder, run, number):
        sweep.folder.fail(run, "No data at 'x'.\nmore") if run == bad else finish(folder, run)

    assert sweep.go(FakeEngine(outcome)) == 1
    said = capsys.readouterr().err
    assert f"{bad}: No data at 'x'." in said
    assert str(sweep.folder.log(bad)) in said
    assert "3 runs finished, 0 diverged, 1 failed" in said
    idle = FakeEngine()
    assert make_sweep().go(idle) == 1
    assert idle.started == []
    again = FakeEngine()
    assert make_sweep(retry_failed=True).go(again) == 0
    assert again.started == [bad]


def test_run_that_dies_repeatedly_fails(make_sweep):
    sweep = make_sweep()
    bad, slow = sweep.runs[0].hash, sweep.runs[1].hash

    def outcome(folder, run, number):
        if run == slow and number < 30:
            save(folder, run)  # It makes progress with each start.
        elif run != bad:
            finish(folder, run)

    engine = FakeEngine(outcome)
    assert sweep.go(engine) == 1
    assert engine.started.count(bad) == 5
    assert engine.started.count(slow) == 30
    assert sweep.folder.state(bad) is State.FAILED
    assert "possibly for lack of memory" in sweep.folder.reason(bad)


@pytest.mark.usefixtures("heard_hangups")
@pytest.mark.parametrize("sent", [[signal.SIGTERM], [signal.SIGHUP, signal.SIGHUP]])
def test_signal_asks_runs_to_stop_once(make_sweep, capsys, sent):
    """A closed terminal sends SIGHUP itself and through its shell."""
    before = signal.getsignal(sent[0])

    def outcome(folder, run, number):
        for number in sent if len(engine.started) == 2 else ():
            os.kill(os.getpid(), number)
        save(folder, run)

    engine = FakeEngine(outcome)
    sweep = make_sweep()
    assert sweep.go(engine) == 75
    assert engine.stops == 1
    assert engine.kills == 1  # Called when the context ends and no run is active.
    assert len(engine.started) == 2
    assert "Run the same command again to continue" in capsys.readouterr().err
    assert signal.getsignal(sent[0]) is before
    assert make_sweep().go(FakeEngine()) == 0


def test_signal_handled_by_a_run_in_this_process_stops_the_sweep(make_sweep, monkeypatch):
    """A run in this process has its own handlers, and ends with a checkpoint."""
    done = []
    monkeypatch.setattr(worker, "work", lambda *about: done.append(about) or worker.INTERRUPTED)
    assert make_sweep().go(Here()) == 75
    assert len(done) == 1


def test_second_signal_kills_runs(make_sweep):
    class Stubborn(FakeEngine):
        def wait(self, seconds):
            os.kill(os.getpid(), signal.SIGINT)
            return [] if self.kills == 0 else super().wait(seconds)

        def kill(self):
            self.kills += 1

    engine = Stubborn(lambda folder, run, number: None)
    assert make_sweep().go(engine) == 75
    assert engine.stops == 1
    assert engine.kills >= 1
    assert not engine.at_work


def test_runs_of_another_sweep_are_waited_for(make_sweep, monkeypatch, capsys):
    monkeypatch.setattr(scheduler, "_LOOK_ELSEWHERE", 0.0)
    sweep = make_sweep()
    sweep.folder.add(sweep.study, sweep.runs)
    done, left = sweep.runs[0].hash, sweep.runs[1].hash
    leases = {run: sweep.folder.lease(run) for run in (done, left)}
    assert all(lease.acquire() for lease in leases.values())
    looks = []

    class Watching(FakeEngine):
        def wait(self, seconds):
            looks.append(sorted(self.at_work))
            if len(looks) == 10:
                finish(sweep.folder.path, done)
                leases[done].release()
                leases[left].release()
            return super().wait(seconds)

    engine = Watching()
    assert sweep.go(engine) == 0
    assert done not in engine.started
    assert engine.started[-1] == left
    assert "2 running elsewhere" in capsys.readouterr().err


def test_concurrent_sweeps_share_the_runs(make_sweep):
    """Both run in one process, and take turns at every `wait`."""
    first, second = make_sweep(seeds=range(5)), make_sweep(seeds=range(5))
    inner = FakeEngine()

    def outcome(folder, run, number):
        finish(folder, run)
        if len(outer.started) == 5:
            assert second.go(inner) == 0

    outer = FakeEngine(outcome, slots=1)
    assert first.go(outer) == 0
    assert set(outer.started) & set(inner.started) == set()
    assert {*outer.started, *inner.started} == {run.hash for run in first.runs}
