"""Two files whose lines correspond."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtk.data.translation.readers.base import RawPair, Reader, found, lines


class LineFiles(Reader):
    """Reads pairs of files, plain or `.gz`: line n of one translates line n of the other.

    Args:
        train: Names of the training split's files, (source, target) and (source, target) ...
        validation: The same for validation.
        test: The same for testing.
        folder: Where the files are.

    Raises:
        ValueError: If a file is missing.
    """

    def __init__(
        self,
        train: Sequence[tuple[str, str]],
        validation: Sequence[tuple[str, str]],
        test: Sequence[tuple[str, str]],
        folder: str = ".",
    ):
        root = Path(folder).expanduser()
        self._files = {
            split: (
                found(root, [source for source, _ in names], split),
                found(root, [target for _, target in names], split),
            )
            for split, names in (("train", train), ("validation", validation), ("test", test))
        }

    def pairs(self, split: str) -> Iterator[RawPair]:
        for source, target in zip(*self._files[split], strict=True):
            yield from _aligned(source, target)

    def asked(self) -> dict[str, Any]:
        sizes = {
            split: [[path.name, path.stat().st_size] for side in sides for path in side]
            for split, sides in self._files.items()
        }
        return {"reader": type(self).__name__, "files": sizes}

    def files(self) -> list[Path]:
        return [path for sides in self._files.values() for side in sides for path in side]


def _aligned(source: Path, target: Path) -> Iterator[RawPair]:
    for number, (ours, theirs) in enumerate(itertools.zip_longest(lines(source), lines(target))):
        if ours is None or theirs is None:
            sizes = [sum(1 for _ in lines(path)) for path in (source, target)]
            raise ValueError(
                f"{source} has {sizes[0]} lines and {target} has {sizes[1]}: they cannot "
                f"correspond line by line, at the latest after line {number}. Fetch both again."
            )
        yield ours, theirs
