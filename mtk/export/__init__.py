"""Exports networks for other programs, and loads exports for evaluation."""

from mtk.export.keras_file import save_keras
from mtk.export.loading import ExportedNetwork, check_inputs, load
from mtk.export.module import export_module
from mtk.export.outputs import with_outputs
from mtk.export.saved_model import export

__all__ = [
    "ExportedNetwork",
    "check_inputs",
    "export",
    "export_module",
    "load",
    "save_keras",
    "with_outputs",
]
