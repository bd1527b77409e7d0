"""An array on disk that grows until it is complete, over several processes if need be."""

import json
import os
from pathlib import Path
from types import TracebackType

import numpy as np

from mtk import atomic

PROGRESS = "progress.json"
_HEADER = 128  # bytes of the header of a file with this few dimensions


class GrowingArray:
    """Writes a uint8 `.npy` file row by row, and notes how many rows are safe.

    What another process has written of the same array stays, as far as it has noted it. Written as
    a file and not through a memory map: there, a full disk ends the process without a word.

    Args:
        folder: Holds the file, and the note in `PROGRESS`.
        name: Of the file.
        shape: Of the complete array.
        digest: Tells this array from others; what belongs to another one is begun anew.

    Attributes:
        done: Rows that are written.
    """

    def __init__(self, folder: Path, name: str, shape: tuple[int, ...], digest: str):
        self.shape = shape
        self.digest = digest
        self._progress = folder / PROGRESS
        path = folder / name
        row = int(np.prod(shape[1:]))
        # A file that is shorter than the note says has lost rows.
        written = (path.stat().st_size - _HEADER) // row if path.exists() else 0
        self.done = self._noted() if self._noted() <= written else 0
        self._file = path.open("r+b" if self.done else "wb")
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.seek(self.done * row, os.SEEK_CUR)
        self._file.truncate()

    def append(self, rows: np.ndarray) -> None:
        """Writes further rows and brings them to the disk.

        Args:
            rows: Array `(n, *shape[1:])`, uint8.
        """
        if rows.dtype != np.uint8 or rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"Expected uint8 rows {self.shape[1:]}. Received: {rows.shape}")
        self._file.write(rows.tobytes())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += len(rows)
        atomic.write_json(self._progress, {"digest": self.digest, "done": self.done})

    def __enter__(self) -> "GrowingArray":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _noted(self) -> int:
        try:
            noted = json.loads(self._progress.read_text())
            return int(noted["done"]) if noted["digest"] == self.digest else 0
        except (OSError, ValueError, KeyError, TypeError):  # None yet, or damaged: begin anew.
            return 0
