"""Callbacks for `fit`: curves, pictures, records, selection, progress, divergence and speed."""

from mtk.callbacks.divergence import Divergence
from mtk.callbacks.metrics_log import MetricsLog
from mtk.callbacks.pictures import Pictures
from mtk.callbacks.profile import Profile
from mtk.callbacks.progress import Progress
from mtk.callbacks.selection import Selection
from mtk.callbacks.step_limit import StepLimit
from mtk.callbacks.task_board import TaskBoard
from mtk.callbacks.throughput import Throughput

__all__ = [
    "Divergence",
    "MetricsLog",
    "Pictures",
    "Profile",
    "Progress",
    "Selection",
    "StepLimit",
    "TaskBoard",
    "Throughput",
]
