"""Files that a run only ever appends to, and the way back to a length that they had."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

from mtk import atomic, event_files

_EVENTS = "*/events.out.tfevents.*"  # as TensorFlow's writers name them, in a folder of each split


class AppendOnlyFiles:
    """The record and the curves of a run.

    Cut back to the lengths that they had at a checkpoint, they hold what belongs to it: nothing
    twice, nothing missing. Appended bytes must have left the process before `lengths` is asked.

    Args:
        root: The run folder.
        record: File without which a run cannot go on.
        curves: Folder of event files that it can do without; the user may remove them. Whatever
            else lies there, such as notes or a profiler's records, is none of these files.
    """

    def __init__(self, root: Path, record: Path, curves: Path):
        self.root = root
        self.record = record
        self.curves = curves
        self._hash = hashlib.sha256()
        self._hashed = 0

    def lengths(self) -> dict[str, int]:
        """Returns the bytes of each file, by the path in the run folder at which it was made."""
        return {self._name(path): path.stat().st_size for path in self._files()}

    def flush(self, lengths: Mapping[str, int]) -> None:
        """Waits until the files are on the disk."""
        for path in self._files():
            if self._name(path) in lengths:
                with contextlib.suppress(FileNotFoundError):  # It is put in order just now.
                    atomic.flush(path)

    def record_hash(self, length: int) -> str:
        """Returns the SHA-256 of the record's first bytes; each is read once in a process.

        Args:
            length: How many bytes, no fewer than in the last call.
        """
        if length > self._hashed:
            with self.record.open("rb") as file:
                file.seek(self._hashed)
                self._hash.update(file.read(length - self._hashed))
            self._hashed = length
        return self._hash.hexdigest()

    def record_length(self, lengths: Mapping[str, int]) -> int:
        """Returns the length of the record, 0 if it was not there."""
        return lengths.get(str(self.record.relative_to(self.root)), 0)

    def check(self, lengths: Mapping[str, int], record: str) -> None:
        """Raises if the record is not what it was; nothing can make up for its lines.

        Args:
            lengths: Of the files at a checkpoint.
            record: Hash of the record then.

        Raises:
            ValueError: Lines of the record are missing or changed.
        """
        problem = self.problem(lengths, record)
        if problem:
            raise ValueError(
                f"{problem}, so the run cannot continue. Nothing was changed. Restore the "
                "complete log; or start again in a new folder, or after removing this one."
            )

    def problem(self, lengths: Mapping[str, int], record: str) -> str:
        """Returns what is wrong with the record, empty if it is what it was; see `check`."""
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
        """Copies to another run folder what the files held at a checkpoint, which was checked.

        Args:
            lengths: Of the files then. Curves that are not there any more are left out.
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
        """Takes away what was written after the lengths were taken."""
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
