"""Files with a pair in each line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtk.data.translation.readers.base import RawPair, TableReader, lines


class TSVFiles(TableReader):
    """Reads files of columns that tabs separate, plain or `.gz`; without quotes and headings.

    A column that a line lacks is empty there.

    Args:
        train: Names of the training split's files, one behind the other; `*` stands for any text.
        validation: The same for validation.
        test: The same for testing.
        folder: Where the files are.
        columns: Those of source and target, counted from 0.

    Raises:
        ValueError: If a file is missing, or a column is negative.
    """

    def __init__(
        self,
        train: Sequence[str],
        validation: Sequence[str],
        test: Sequence[str],
        folder: str = ".",
        columns: tuple[int, int] = (0, 1),
    ):
        if min(columns) < 0:
            raise ValueError(f"`columns` are counted from 0. Received: {columns}")
        super().__init__(train, validation, test, folder)
        self.columns = columns

    def asked(self) -> dict[str, Any]:
        return {**super().asked(), "columns": list(self.columns)}

    def _pairs_of(self, path: Path) -> Iterator[RawPair]:
        source, target = self.columns
        last = max(self.columns)
        for line in lines(path):
            cells = line.split(b"\t")
            cells += [b""] * (last + 1 - len(cells))
            yield cells[source], cells[target]
