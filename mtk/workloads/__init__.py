"""Tasks, data and a network under one roof: one workload a file."""

from mtk.workloads.base import Workload
from mtk.workloads.multi_digits import MultiDigits

__all__ = ["MultiDigits", "Workload"]
