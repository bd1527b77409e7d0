"""Runs that end before their time, and what two runs must have in common."""

import json
from pathlib import Path

import numpy as np

from mtk import checkpoints
from mtk.experiment.checkpointing import Checkpointing


class Crash(BaseException):
    """What no code of the run is prepared for."""


def crash(monkeypatch, step, moment="stepped"):
    """Makes the next run end after `step` steps, before it could write a checkpoint there."""
    original = getattr(Checkpointing, moment)

    def crashing(self, *arguments):
        if self.step == step:
            monkeypatch.setattr(Checkpointing, moment, original)
            raise Crash
        original(self, *arguments)

    monkeypatch.setattr(Checkpointing, moment, crashing)


def newest(folder: Path) -> checkpoints.Snapshot:
    paths = sorted((folder / "checkpoints").glob("0*"))
    return checkpoints.Snapshot.load(paths[-1])


def assert_same(folder: Path, expected: Path) -> None:
    """Asserts that two finished runs agree bit for bit."""
    for name in ("result.json", "metrics.jsonl"):
        assert (folder / name).read_text() == (expected / name).read_text(), name
    one, other = newest(folder), newest(expected)
    assert one.step == other.step
    assert json.dumps(one.state) == json.dumps(other.state)
    assert len(one.variables) == len(other.variables)
    pairs = zip(one.variables.items(), other.variables.items(), strict=True)
    for (name, value), (_, wanted) in pairs:
        np.testing.assert_array_equal(value, wanted, err_msg=name)
