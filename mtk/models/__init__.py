"""Networks: one family a file."""

from mtk.models.lenet import lenet

__all__ = ["lenet"]
