"""The checkpoints of a run: numbered folders, the last few of which are kept."""

import re
import shutil
import warnings
from pathlib import Path

from mtk import atomic
from mtk.checkpoints.growing import GrowingFiles
from mtk.checkpoints.snapshot import DamagedError, Snapshot

_UNFINISHED = "unfinished."  # as `atomic` names what is being written
_NAME = re.compile(r"(?P<number>\d{6,})-step-\d+")


class Store:
    """Writes checkpoints so that a crash at any instant leaves the ones before it.

    A checkpoint is a folder `000012-step-420`, written under another name and moved. A later one
    has a larger number.

    Args:
        folder: Folder of the checkpoints.
        growing: Files whose lengths belong to a checkpoint.
        keep: How many to keep.

    Raises:
        ValueError: If `keep` is not positive.
    """

    def __init__(self, folder: Path, growing: GrowingFiles, keep: int = 2):
        if keep < 1:
            raise ValueError(
                f"`keep_checkpoints` is a number of checkpoints, 1 or more. Received: {keep}"
            )
        self.folder = folder
        self.growing = growing
        self.keep = keep

    def write(self, snapshot: Snapshot) -> None:
        """Writes a checkpoint, then removes those too old to be kept.

        Raises:
            OSError: If it cannot be written. The ones before are untouched.
        """
        number = max([0, *map(_number, self._all())]) + 1
        self.growing.flush(snapshot.lengths)
        with atomic.replacing(self.folder / f"{number:06}-step-{snapshot.step}") as unfinished:
            unfinished.mkdir()
            snapshot.save(unfinished)
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    def newest(self) -> Snapshot | None:
        """Returns the newest sound checkpoint, or None without one.

        Damaged ones are put aside with a warning. What an interrupted write has left is removed,
        and so is what was put aside at an earlier start.
        """
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        for path in reversed(self._all()):
            try:
                snapshot = Snapshot.load(path)
                self.growing.check(snapshot.lengths)
                return snapshot
            except DamagedError as reason:
                warnings.warn(
                    f"The checkpoint {path} is damaged: {reason}. The one before it is taken, or "
                    "the start if there is none.",
                    stacklevel=2,
                )
                path.rename(path.with_name(f"{_UNFINISHED}damaged-{path.name}"))
        return None

    def __bool__(self) -> bool:
        return bool(self._all())

    def _all(self) -> list[Path]:
        return sorted((p for p in self.folder.iterdir() if _NAME.fullmatch(p.name)), key=_number)


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    assert match
    return int(match["number"])
