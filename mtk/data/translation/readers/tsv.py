"""Files with one pair per line."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtk.data.translation.readers.base import (
    RawPair,
    TableReader,
    check_encoding,
    lines,
    other_encoding,
)


class TSVFiles(TableReader):
    """Reads files of tab-separated columns, plain or `.gz`, without quotes and header.

    A missing column of a line is empty.

    Args:
        train: Names of the training split's files, in order; `*` matches any text.
        validation: The same for validation.
        test: The same for testing.
        folder: Folder of the files.
        columns: Indices of the columns of source and target, from 0.
        encoding: Encoding of all files; those that start with the mark of UTF-16 or UTF-32 need
            none.

    Raises:
        ValueError: If a file is missing, a column is negative, or the encoding is unknown.
    """

    def __init__(
        self,
        train: Sequence[str],
        validation: Sequence[str],
        test: Sequence[str],
        folder: str = ".",
        columns: tuple[int, int] = (0, 1),
        encoding: str = "utf-8",
    ):
        self._encoding = check_encoding(encoding)
        if min(columns) < 0:
            raise ValueError(f"`columns` must be 0 or more. Received: {columns}")
        super().__init__(train, validation, test, folder)
        self.columns = columns

    def asked(self) -> dict[str, Any]:
        own = {"columns": list(self.columns), **other_encoding(self._encoding)}
        return {**super().asked(), **own}

    def _pairs_of(self, path: Path) -> Iterator[RawPair]:
        source, target = self.columns
        last = max(self.columns)
        for line in lines(path, self._encoding):
            cells = line.split(b"\t")
            cells += [b""] * (last + 1 - len(cells))
            yield cells[source], cells[target]
