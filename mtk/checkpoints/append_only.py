"""Append-only files of a run, which can be truncated to an earlier length."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from mtk import atomic, event_files

_EVENTS = "*/events.out.tfevents.*"  # names of TensorFlow's writers, in a folder per split


class AppendOnlyFiles:
    """The record and the curves of a run.

    Truncated to their lengths at a checkpoint, they hold exactly what belongs to it, without gaps
    or duplicates. Appended bytes must have left the process's buffers before `lengths` is called.

    Args:
        root: The run folder.
        record: File that is required to resume the run.
        curves: Folder of event files that are not required; the user may remove them. Other files
            in it, such as notes or a profiler's output, are ignored.
    """

    def __init__(self, root: Path, record: Path, curves: Path):
        self.root = root
        self.record = record
        self.curves = curves
        self._hash = hashlib.sha256()
        self._hashed = 0

    def lengths(self) -> dict[str, int]:
        """Returns the size in bytes of each file, by its original path in the run folder."""
        return {self._name(path): path.stat().st_size for path in self._files()}

    def flush(self, lengths: Mapping[str, int]) -> None:
        """Waits until the files are on disk."""
        for path in self._files():
            if self._name(path) in lengths:
                with contextlib.suppress(FileNotFoundError):  # It is being renamed.
                    atomic.flush(path)

    def record_hash(self, length: int) -> str:
        """Returns the SHA-256 of the record's first bytes; a process reads each byte once.

        Args:
            length: Number of bytes, at least that of the previous call.
        """
        if length > self._hashed:
            with self.record.open("rb") as file:
                file.seek(self._hashed)
                self._hash.update(file.read(length - self._hashed))
            self._hashed = length
        return self._hash.hexdigest()

    def record_length(self, lengths: Mapping[str, int]) -> int:
        """Returns the length of the record, 0 if it did not exist."""
        return lengths.get(str(self.record.relative_to(self.root)), 0)

    def check(self, lengths: Mapping[str, int], record: str) -> None:
        """Checks that the record is intact, since its lines cannot be replaced.

        Args:
            lengths: Lengths of the files at a checkpoint.
            record: Hash of the record at that checkpoint.

        Raises:
            ValueError: If lines of the record are missing or changed.
        """
        problem = self.problem(lengths, record)
        if problem:
            raise ValueError(
                f"{problem}, so the run cannot continue. Nothing was changed. Restore the "
                "complete log; or start again in a new folder, or after removing this one."
            )

    def problem(self, lengths: Mapping[str, int], record: str) -> str:
        """Returns what is wrong with the record, empty if it is intact; see `check`."""
        self._hash, self._hashed = hashlib.sha256(), 0
        noted = self.record_length(lengths)
        there = self.record.stat().st_size if self.record.exists() else 0
        if there < noted:
            state = f"has {there} bytes" if self.record.exists() else "is missing"
            state += f", but had {noted} at the last checkpoint"
        elif noted and self.record_hash(noted) != record:
            state = f"was changed in its first {noted} bytes after the last checkpoint"
        else:
            return ""
        return f"The log {str(self.record)!r} {state}"

    def copy(self, lengths: Mapping[str, int], root: Path) -> None:
        """Copies the contents of the files at a checkpoint, which was checked, to another run.

        Args:
            lengths: Lengths of the files at the checkpoint. Curves that were removed are left out.
            root: The other run folder.
        """
        for path in self._files():
            length = lengths.get(self._name(path))
            if length is not None:
                target = root / self._name(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic.replacing(target) as unfinished, path.open("rb") as file:
                    unfinished.write_bytes(file.read(length))

    def cut(self, lengths: Mapping[str, int]) -> None:
        """Removes everything that was written after the lengths were recorded."""
        files = self._files()
        for path in files:
            noted = lengths.get(self._name(path))
            if noted is None:
                path.unlink()
            elif path.stat().st_size > noted:
                os.truncate(path, noted)
        now = self.lengths()
        gone = [name for name, length in lengths.items() if now.get(name, -1) < length]
        if gone:
            warnings.warn(
                f"Curves before this point are missing or truncated: {gone}", stacklevel=2
            )

    def _name(self, path: Path) -> str:
        inner = path.relative_to(self.root)
        return str(inner.with_name(event_files.original_name(inner.name)))

    def _files(self) -> list[Path]:
        record = [self.record] if self.record.exists() else []
        return record + sorted(path for path in self.curves.glob(_EVENTS) if path.is_file())
