"""Layers by which tasks share a network: experts and gates, cross-stitch units, attention."""

from mtk.models.sharing.cgc import CGC, PLE
from mtk.models.sharing.cross_stitch import CrossStitch
from mtk.models.sharing.dselect_k import DSelectK
from mtk.models.sharing.experts import Experts
from mtk.models.sharing.gates import SoftmaxGate
from mtk.models.sharing.mmoe import MMoE
from mtk.models.sharing.mtan import MTAN
from mtk.models.sharing.networks import (
    cgc,
    cross_stitch,
    dselect_k,
    mmoe,
    mtan,
    ple,
    shared_bottom,
    width_for,
)
from mtk.models.sharing.trunks import Columns, DeepLab, LeNet, ResNet18
from mtk.models.sharing.utilization import ExpertUtilization

__all__ = [
    "CGC",
    "MTAN",
    "PLE",
    "Columns",
    "CrossStitch",
    "DSelectK",
    "DeepLab",
    "ExpertUtilization",
    "Experts",
    "LeNet",
    "MMoE",
    "ResNet18",
    "SoftmaxGate",
    "cgc",
    "cross_stitch",
    "dselect_k",
    "mmoe",
    "mtan",
    "ple",
    "shared_bottom",
    "width_for",
]
