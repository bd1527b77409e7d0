"""What starts the runs of a study, and where."""

from mtk.study.engines.base import Engine, made
from mtk.study.engines.here import Here
from mtk.study.engines.local import Local
from mtk.study.engines.ray import Ray
from mtk.study.engines.slurm import Slurm

__all__ = ["Engine", "Here", "Local", "Ray", "Slurm", "made"]
