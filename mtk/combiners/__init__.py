"""The methods: one file each. Start with `base.py`."""

from mtk.combiners.aligned_mtl import AlignedMTL
from mtk.combiners.base import Combined, Combiner, LossCombiner
from mtk.combiners.cagrad import CAGrad
from mtk.combiners.dwa import DWA
from mtk.combiners.famo import FAMO
from mtk.combiners.graddrop import GradDrop
from mtk.combiners.gradnorm import GradNorm
from mtk.combiners.gradvac import GradVac
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.imtl import IMTL
from mtk.combiners.imtl_g import IMTLG
from mtk.combiners.imtl_l import IMTLL
from mtk.combiners.mgda import MGDA
from mtk.combiners.nash_mtl import NashMTL
from mtk.combiners.pcgrad import PCGrad
from mtk.combiners.proportional import ProportionalSampling
from mtk.combiners.rlw import RLW
from mtk.combiners.static import StaticWeights
from mtk.combiners.uncertainty import UncertaintyWeights
from mtk.combiners.upgrad import UPGrad

__all__ = [
    "DWA",
    "FAMO",
    "IMTL",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "RLW",
    "AlignedMTL",
    "CAGrad",
    "Combined",
    "Combiner",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GramianCombiner",
    "LossCombiner",
    "NashMTL",
    "PCGrad",
    "ProportionalSampling",
    "StaticWeights",
    "UPGrad",
    "UncertaintyWeights",
]
