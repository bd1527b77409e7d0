"""Callbacks for `fit`: curves, records, selection, progress and divergence."""

from mtk.callbacks.divergence import Divergence
from mtk.callbacks.metrics_log import MetricsLog
from mtk.callbacks.progress import Progress
from mtk.callbacks.selection import Selection
from mtk.callbacks.step_limit import StepLimit
from mtk.callbacks.task_board import TaskBoard

__all__ = ["Divergence", "MetricsLog", "Progress", "Selection", "StepLimit", "TaskBoard"]
