"""Tasks, data and a network under one roof: one workload a file."""

from mtk.workloads.base import Workload
from mtk.workloads.multi_digits import MultiDigits
from mtk.workloads.multi_mnist import MultiMNIST
from mtk.workloads.translation import Translation

__all__ = ["MultiDigits", "MultiMNIST", "Translation", "Workload"]
