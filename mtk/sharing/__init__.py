"""Finds which variables of a network its tasks share, by its graph and by probing."""

from mtk.sharing.analysis import TaskLosses, analyze
from mtk.sharing.probe import examples
from mtk.sharing.structure import Given, LayerOutput, Structure, names, override, unread

__all__ = [
    "Given",
    "LayerOutput",
    "Structure",
    "TaskLosses",
    "analyze",
    "examples",
    "names",
    "override",
    "unread",
]
