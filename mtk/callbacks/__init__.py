"""Callbacks for `fit`: curves, pictures, records, selection, progress, divergence and speed."""

from mtk.callbacks.best_checkpoint import BestCheckpoint
from mtk.callbacks.images import Images
from mtk.callbacks.max_steps import MaxSteps
from mtk.callbacks.metrics_log import MetricsLog
from mtk.callbacks.profile import Profile
from mtk.callbacks.progress import Progress
from mtk.callbacks.task_board import TaskBoard
from mtk.callbacks.terminate_on_nonfinite import TerminateOnNonFinite
from mtk.callbacks.throughput import Throughput

__all__ = [
    "BestCheckpoint",
    "Images",
    "MaxSteps",
    "MetricsLog",
    "Profile",
    "Progress",
    "TaskBoard",
    "TerminateOnNonFinite",
    "Throughput",
]
