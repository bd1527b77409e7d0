"""Callbacks for `fit`: curves, images, gates, logs, model selection, divergence and speed."""

from mtk.callbacks.base import MaxSteps
from mtk.callbacks.best_checkpoint import BestCheckpoint
from mtk.callbacks.gates import Gates
from mtk.callbacks.images import Images
from mtk.callbacks.metrics_log import MetricsLog
from mtk.callbacks.profile import Profile
from mtk.callbacks.progress import Progress
from mtk.callbacks.task_board import TaskBoard
from mtk.callbacks.terminate_on_nonfinite import TerminateOnNonFinite
from mtk.callbacks.throughput import Throughput

__all__ = [
    "BestCheckpoint",
    "Gates",
    "Images",
    "MaxSteps",
    "MetricsLog",
    "Profile",
    "Progress",
    "TaskBoard",
    "TerminateOnNonFinite",
    "Throughput",
]
