"""Trains on two logical devices, with and without crashes; started in a separate process."""

import functools
import sys
from pathlib import Path

import pytest
from application_runs import start
from crashes import AugmentedDigits, CrashError, crash

from mtk import combiners, distribution

folder = Path(sys.argv[1])
devices = distribution.mirrored(2)
arguments = {
    "strategy": lambda: devices,
    "combiner": functools.partial(combiners.FAMO),
    "every": 0.0,
}


def tiny():
    return AugmentedDigits(partners=1, channels=(4, 4), units=8)


start(tiny, folder / "undisturbed", **arguments)
with pytest.MonkeyPatch.context() as patch:
    for step in (6, 10):
        crash(patch, step)
        with pytest.raises(CrashError):
            start(tiny, folder / "run", **arguments)
start(tiny, folder / "run", **arguments)
