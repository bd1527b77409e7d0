"""Many runs: a grid of methods and values, done on one machine or many, once each."""

from mtk.errors import StudyError
from mtk.study import engines
from mtk.study.description import Study
from mtk.study.expansion import Expansion, Run
from mtk.study.folder import State, StudyFolder
from mtk.study.sweeping import Sweep, sweep

__all__ = [
    "Expansion",
    "Run",
    "State",
    "Study",
    "StudyError",
    "StudyFolder",
    "Sweep",
    "engines",
    "sweep",
]
