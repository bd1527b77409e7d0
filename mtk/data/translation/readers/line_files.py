"""Pairs of files with corresponding lines."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtk.data.translation.readers.base import (
    FileReader,
    RawPair,
    check_encoding,
    found,
    lines,
    other_encoding,
)
from mtk.display import counted

_LOOKED_AT = 2  # Lines that reveal UTF-16: the second starts with the rest of a line end.


class LineFiles(FileReader):
    """Reads pairs of files, plain or `.gz`: line n of one translates line n of the other.

    Args:
        train: Names of the training split's files, (source, target) and (source, target) ...
        validation: The same for validation.
        test: The same for testing.
        folder: Folder of the files.
        encoding: Encoding of all files; those that start with the mark of UTF-16 or UTF-32 need
            none.

    Raises:
        ValueError: If a file is missing, or the encoding is unknown.
    """

    def __init__(
        self,
        train: Sequence[tuple[str, str]],
        validation: Sequence[tuple[str, str]],
        test: Sequence[tuple[str, str]],
        folder: str = ".",
        encoding: str = "utf-8",
    ):
        self._encoding = check_encoding(encoding)
        root = Path(folder).expanduser()
        named = {"train": train, "validation": validation, "test": test}
        self._sides = {
            split: [found(root, [names[side] for names in pairs], split) for side in (0, 1)]
            for split, pairs in named.items()
        }
        super().__init__(
            {split: sources + targets for split, (sources, targets) in self._sides.items()}
        )

    def pairs(self, split: str) -> Iterator[RawPair]:
        for source, target in zip(*self._sides[split], strict=True):
            yield from _aligned(source, target, self._encoding)

    def asked(self) -> dict[str, Any]:
        return {**super().asked(), **other_encoding(self._encoding)}


def _aligned(source: Path, target: Path, encoding: str) -> Iterator[RawPair]:
    sides = (lines(path, encoding) for path in (source, target))
    for number, (ours, theirs) in enumerate(itertools.zip_longest(*sides)):
        if ours is None or theirs is None:
            # The rest of the longer file is not read, since it may expand endlessly.
            shorter, longer = (source, target) if ours is None else (target, source)
            raise ValueError(
                f"{shorter} ends after {counted(number, 'line')}, but {longer} has more, so "
                f"they cannot correspond line by line. {_remedy(source, target, encoding)}"
            )
        yield ours, theirs


def _remedy(source: Path, target: Path, encoding: str) -> str:
    if encoding != "utf-8":
        return f"Both were read as {encoding!r}. If this is wrong, convert them to UTF-8."
    for path in (source, target):
        if any(b"\0" in line for line in itertools.islice(lines(path), _LOOKED_AT)):
            return f"{path} contains null bytes, as in UTF-16. Convert it to UTF-8."
    return "Download both again."
