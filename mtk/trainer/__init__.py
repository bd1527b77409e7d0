"""The trainer: a Keras model whose training step computes per-task gradients."""

from mtk.trainer.compile_args import OnNonfinite
from mtk.trainer.model import MultiTaskModel

__all__ = ["MultiTaskModel", "OnNonfinite"]
