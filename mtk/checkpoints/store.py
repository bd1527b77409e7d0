"""The checkpoints of a run: numbered folders, of which the last few are kept."""

import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

from mtk import atomic, places
from mtk.checkpoints.append_only import AppendOnlyFiles
from mtk.checkpoints.snapshot import DamagedError, Snapshot, link
from mtk.ranges import check_count

_DAMAGED = "damaged."  # prefix of damaged checkpoints that were set aside
_NAME = re.compile(r"(?P<number>\d{6,})-step-\d+")


class Store:
    """Writes checkpoints so that a crash at any time leaves the previous ones intact.

    A checkpoint is a folder such as `000012-step-420`, written under another name and then moved.
    Later checkpoints have larger numbers.

    Args:
        folder: Folder of the checkpoints.
        growing: Append-only files whose lengths belong to a checkpoint.
        keep: Number of checkpoints to keep.

    Raises:
        ValueError: If `keep` is not positive.
    """

    def __init__(self, folder: Path, growing: AppendOnlyFiles, keep: int = 2):
        check_count(keep=keep)
        self.folder = folder
        self.growing = growing
        self.keep = keep

    def write(self, snapshot: Snapshot) -> None:
        """Writes a checkpoint, then removes those too old to be kept.

        Raises:
            OSError: If it cannot be written. Previous checkpoints are untouched.
        """
        # Damaged checkpoints count too, so that names are never reused.
        number = max([0, *map(_number, self._all() + self._all(_DAMAGED))]) + 1
        self.growing.flush(snapshot.lengths)
        name = f"{number:06}-step-{snapshot.step}"
        with atomic.making_folder(self.folder / name) as unfinished:
            snapshot.save(unfinished)
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    def keep_as(self, folder: Path, step: int) -> None:
        """Keeps the newest checkpoint in another folder, even after later ones are written.

        Args:
            folder: The other folder; if it exists, nothing is done.
            step: Step of the checkpoint.

        Raises:
            OSError: If the newest checkpoint is of another step, or `folder` cannot be written.
        """
        if folder.exists():
            return
        newest = self._all()[-1:]
        if not newest or not newest[0].name.endswith(f"-step-{step}"):
            raise OSError(f"The checkpoint of step {step} was removed or never written")
        folder.parent.mkdir(exist_ok=True)
        with atomic.making_folder(folder) as unfinished:
            for path in newest[0].iterdir():
                link(path, unfinished / path.name)

    def newest(self) -> Snapshot | None:
        """Returns the newest valid checkpoint, or None if there is none.

        Damaged ones are set aside with a warning. Remains of an interrupted write are removed.

        Raises:
            ValueError: If an append-only file lacks data of the checkpoint; nothing is changed.
        """
        damaged: dict[Path, DamagedError] = {}
        found = None
        for path in reversed(self._all()):
            try:
                found = Snapshot.load(path)
                break
            except DamagedError as reason:
                damaged[path] = reason
        if found is not None:
            self.growing.check(found.lengths, found.record)
        what = (
            f"resumes after step {found.step}"
            if found
            else "starts from the beginning: there is no other valid checkpoint"
        )
        self._tidy(damaged, what)
        return found

    def forget_damaged(self) -> None:
        """Removes the damaged checkpoints that were set aside."""
        for path in self._all(_DAMAGED):
            shutil.rmtree(path)

    def __bool__(self) -> bool:
        return bool(self._all())

    def _tidy(self, damaged: Mapping[Path, DamagedError], what: str) -> None:
        for left in self.folder.glob(f"{places.UNFINISHED}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        for path, reason in damaged.items():
            aside = path.rename(path.with_name(f"{_DAMAGED}{path.name}"))
            warnings.warn(
                f"The checkpoint {path} is damaged: {reason}. The run {what}. The checkpoint is "
                f"kept as {aside.name} until the run has finished.",
                stacklevel=3,
            )

    def _all(self, prefix: str = "") -> list[Path]:
        """Returns the checkpoints whose names begin with `prefix`, oldest first."""
        named = re.compile(re.escape(prefix) + _NAME.pattern)
        return sorted((p for p in self.folder.iterdir() if named.fullmatch(p.name)), key=_number)


def _number(path: Path) -> int:
    match = _NAME.search(path.name)
    assert match
    return int(match["number"])
