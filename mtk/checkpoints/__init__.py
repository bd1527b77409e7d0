"""What a run needs to go on as if nothing had happened, in files that survive a crash."""

from mtk.checkpoints.background import BackgroundWriter
from mtk.checkpoints.growing import GrowingFiles
from mtk.checkpoints.snapshot import DamagedError, Snapshot, link, read_state
from mtk.checkpoints.store import Store
from mtk.checkpoints.variables import assign, values

__all__ = [
    "BackgroundWriter",
    "DamagedError",
    "GrowingFiles",
    "Snapshot",
    "Store",
    "assign",
    "link",
    "read_state",
    "values",
]
