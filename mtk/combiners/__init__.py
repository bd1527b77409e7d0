"""The methods, one per file; start with `base.py`."""

from mtk.combiners.aligned_mtl import AlignedMTL
from mtk.combiners.auto_lambda import AutoLambda
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.cagrad import CAGrad
from mtk.combiners.con_fig import ConFIG
from mtk.combiners.cosmos import COSMOS
from mtk.combiners.cr_mogm import CRMOGM
from mtk.combiners.db_mtl import DBMTL
from mtk.combiners.dualproj import DualProj
from mtk.combiners.dwa import DWA
from mtk.combiners.encodec import EnCodecBalancer
from mtk.combiners.every import Every
from mtk.combiners.excess_mtl import ExcessMTL
from mtk.combiners.fairgrad import FairGrad
from mtk.combiners.famo import FAMO
from mtk.combiners.forum import FORUM
from mtk.combiners.gls import GLS
from mtk.combiners.graddrop import GradDrop
from mtk.combiners.gradnorm import GradNorm
from mtk.combiners.gradvac import GradVac
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.ign import IGN
from mtk.combiners.imtl import IMTL
from mtk.combiners.imtl_g import IMTLG
from mtk.combiners.imtl_l import IMTLL
from mtk.combiners.losses import LossCombiner
from mtk.combiners.m_con_fig import MConFIG
from mtk.combiners.metabalance import MetaBalance
from mtk.combiners.mgda import MGDA
from mtk.combiners.moco import MoCo
from mtk.combiners.modo import MoDo
from mtk.combiners.moml import MOML
from mtk.combiners.nash_mtl import NashMTL
from mtk.combiners.parts import PartsCombiner
from mtk.combiners.pbi import PBI
from mtk.combiners.pcgrad import PCGrad
from mtk.combiners.per_layer import PerLayer
from mtk.combiners.proportional import ProportionalSampling
from mtk.combiners.rlw import RLW
from mtk.combiners.scale_invariant import ScaleInvariant
from mtk.combiners.sdmgrad import SDMGrad
from mtk.combiners.softadapt import SoftAdapt
from mtk.combiners.static import StaticWeights
from mtk.combiners.stch import STCH
from mtk.combiners.task_subset import TaskSubset
from mtk.combiners.tchebycheff import Tchebycheff
from mtk.combiners.uncertainty import UncertaintyWeights
from mtk.combiners.unit_gradients import UnitGradients
from mtk.combiners.upgrad import UPGrad
from mtk.combiners.uw_so import UWSO
from mtk.combiners.warm_up import WarmUp

__all__ = [
    "COSMOS",
    "CRMOGM",
    "DBMTL",
    "DWA",
    "FAMO",
    "FORUM",
    "GLS",
    "IGN",
    "IMTL",
    "IMTLG",
    "IMTLL",
    "MGDA",
    "MOML",
    "PBI",
    "RLW",
    "STCH",
    "UWSO",
    "AlignedMTL",
    "AutoLambda",
    "CAGrad",
    "Combined",
    "Combiner",
    "ConFIG",
    "DualProj",
    "EnCodecBalancer",
    "Every",
    "ExcessMTL",
    "FairGrad",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GramianCombiner",
    "LossCombiner",
    "MConFIG",
    "MetaBalance",
    "MoCo",
    "MoDo",
    "NashMTL",
    "PCGrad",
    "PartsCombiner",
    "PerLayer",
    "ProportionalSampling",
    "SDMGrad",
    "ScaleInvariant",
    "SoftAdapt",
    "StaticWeights",
    "TaskSubset",
    "Tchebycheff",
    "UPGrad",
    "UncertaintyWeights",
    "UnitGradients",
    "WarmUp",
]
