"""Datasets, the order of examples, and batches.

Submodules are imported on first use (PEP 562), since preparing data does not need TensorFlow.
"""

import importlib
from typing import Any

_HOMES = {
    "Source": "sources",
    "in_memory": "sources",
    "index_batches": "order",
    "memory_mapped": "sources",
    "mixed_batches": "mixing",
    "ordered_batches": "batches",
    "per_task_batches": "mixing",
    "task_counts": "mixing",
    "temperature_shares": "mixing",
    "train_batches": "batches",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"mtk.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mtk.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
