"""Crash-safe checkpoints from which a run resumes exactly."""

from mtk.checkpoints.append_only import AppendOnlyFiles
from mtk.checkpoints.async_checkpointer import AsyncCheckpointer
from mtk.checkpoints.snapshot import DamagedError, Snapshot, link, read_without_variables
from mtk.checkpoints.store import Store
from mtk.checkpoints.variables import assign, values

__all__ = [
    "AppendOnlyFiles",
    "AsyncCheckpointer",
    "DamagedError",
    "Snapshot",
    "Store",
    "assign",
    "link",
    "read_without_variables",
    "values",
]
