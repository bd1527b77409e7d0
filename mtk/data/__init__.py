"""Examples, their order, and the batches made of them."""

from mtk.data.batches import ordered_batches, train_batches
from mtk.data.mixing import mixed_batches, shared_batches, task_counts
from mtk.data.order import index_batches
from mtk.data.sources import Source, in_memory

__all__ = [
    "Source",
    "in_memory",
    "index_batches",
    "mixed_batches",
    "ordered_batches",
    "shared_batches",
    "task_counts",
    "train_batches",
]
