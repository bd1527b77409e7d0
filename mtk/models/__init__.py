"""Networks: one family per file."""

from mtk.models import sharing as sharing
from mtk.models.conditioning import TaskWeights, at, conditioned
from mtk.models.deeplab import deeplab
from mtk.models.film import FiLM
from mtk.models.lenet import lenet
from mtk.models.resnet import resnet18
from mtk.models.transformer import Transformer

__all__ = [
    "FiLM",
    "TaskWeights",
    "Transformer",
    "at",
    "conditioned",
    "deeplab",
    "lenet",
    "resnet18",
]
