"""Engines with fake runs, to test sweeps."""

import json
import random
from pathlib import Path

from mtk.study import StudyFolder
from mtk.study.engines import Engine


def finish(folder, run, status="finished", losses=(0.5, 0.25)):
    """Writes the files of a run that ended."""
    tasks = {name: {"loss": loss} for name, loss in zip(("left", "right"), losses, strict=True)}
    result = {"status": status, "steps": 4, "validation": {"tasks": tasks}}
    run_dir = StudyFolder(folder).run_dir(run)
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "result.json").write_text(json.dumps(result))


def pause(folder, run, step, losses=(0.5, 0.25), **further):
    """Writes the files of a run that pauses."""
    tasks = {name: {"loss": loss} for name, loss in zip(("left", "right"), losses, strict=True)}
    path = StudyFolder(folder).run_dir(run) / "rungs" / f"{step}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"status": "paused", "steps": step, "validation": {"tasks": tasks}, **further}
    path.write_text(json.dumps(content))


def save(folder, run):
    """Writes another checkpoint."""
    checkpoints = StudyFolder(folder).run_dir(run) / "checkpoints"
    (checkpoints / f"{len(list(checkpoints.glob('0*'))):06}-step-1").mkdir(parents=True)


class FakeEngine(Engine):
    """Runs that end at the next `wait`, with the result of `outcome`.

    Args:
        outcome: Called with the folder, the run and the number of times that it was started.
        slots: As in any engine.
    """

    def __init__(self, outcome=None, slots=2):
        self.outcome = outcome or (lambda folder, run, number: finish(folder, run))
        self.number = slots
        self.started = []
        self.at_work = {}
        self.most = 0
        self.stops = self.kills = 0

    @property
    def slots(self):
        return self.number

    def start(self, folder, run):
        assert run not in self.at_work
        self.started.append(run)
        self.at_work[run] = Path(folder)
        self.most = max(self.most, len(self.at_work))

    def wait(self, seconds):
        ended = random.Random(len(self.started)).sample(sorted(self.at_work), k=bool(self.at_work))
        for run in ended:
            self.outcome(self.at_work.pop(run), run, self.started.count(run))
        return ended

    def stop(self):
        self.stops += 1

    def kill(self):
        self.kills += 1
        self.at_work.clear()
