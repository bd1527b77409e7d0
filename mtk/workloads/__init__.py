"""Workloads: tasks, data and a network, one workload per file."""

from mtk.workloads.arrays import Arrays
from mtk.workloads.base import Workload
from mtk.workloads.celeba import CelebA
from mtk.workloads.cityscapes import CityScapes
from mtk.workloads.conditioned import Conditioned
from mtk.workloads.datasets import Datasets
from mtk.workloads.multi_digits import MultiDigits
from mtk.workloads.multi_mnist import MultiMNIST
from mtk.workloads.street_world import StreetWorld
from mtk.workloads.table import Table
from mtk.workloads.translation import Translation

__all__ = [
    "Arrays",
    "CelebA",
    "CityScapes",
    "Conditioned",
    "Datasets",
    "MultiDigits",
    "MultiMNIST",
    "StreetWorld",
    "Table",
    "Translation",
    "Workload",
]
