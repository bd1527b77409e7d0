"""A common task framework: fixed tasks, equal budgets, a sealed test, a leaderboard.

A card defines what all entries have in common. `run` does the whole budget of an entry, with its
test sealed; `submit` packs its predictions for the test; `score` measures them where the labels
are, no finer than the noise, and writes the leaderboard. Code that reads results is imported on
first use, since the import takes seconds.
"""

import importlib
from typing import Any

from mtk.bench.card import Card
from mtk.bench.command import main
from mtk.bench.entry import BenchFolder, run

# Classes and functions by the module that defines them.
_NAMES = {"Board": "board", "Standing": "ranking", "rank": "ranking", "submit": "submission"}

__all__ = ["BenchFolder", "Card", "main", "run", *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"mtk.bench.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
