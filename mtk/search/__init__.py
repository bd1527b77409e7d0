"""Finds the front of static weights, or the best ones for a goal, with fewer runs than a grid.

The module can be called: `mtk.search(mtk.search.Search(...), study_dir)` is `mtk.search.search`.
"""

import sys
import types
from typing import Any

from mtk.search.command import main
from mtk.search.cooldown import Cooldown
from mtk.search.goals import Constraint, Front, Goal, Preference
from mtk.search.pbt import PBT
from mtk.search.result import Confirmed, Found, Tried
from mtk.search.samplers import Bisection, Optuna, Random, Sampler, Sobol, Trial, TwoStage
from mtk.search.searching import search
from mtk.search.space import Space
from mtk.search.spec import Search

__all__ = [
    "PBT",
    "Bisection",
    "Confirmed",
    "Constraint",
    "Cooldown",
    "Found",
    "Front",
    "Goal",
    "Optuna",
    "Preference",
    "Random",
    "Sampler",
    "Search",
    "Sobol",
    "Space",
    "Trial",
    "Tried",
    "TwoStage",
    "main",
    "search",
]


class _Callable(types.ModuleType):
    """A module that can be called like its main function, and is also the command `mtk.search`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Found:
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
