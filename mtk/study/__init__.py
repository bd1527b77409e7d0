"""Studies: a grid of methods and values, each run done once, on one or several machines."""

from mtk.errors import StudyError
from mtk.study import engines
from mtk.study.folder import State, StudyFolder
from mtk.study.grid import Grid, Run
from mtk.study.spec import Study
from mtk.study.sweeping import Sweep, sweep
from mtk.study.tail import tail

__all__ = [
    "Grid",
    "Run",
    "State",
    "Study",
    "StudyError",
    "StudyFolder",
    "Sweep",
    "engines",
    "sweep",
    "tail",
]
