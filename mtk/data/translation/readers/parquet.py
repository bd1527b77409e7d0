"""Parquet files with a column `translation`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtk import extras
from mtk.data.bounded import LONGEST_LINE
from mtk.data.translation.readers.base import RawPair, TableReader

_COLUMN = "translation"
# Rows read at once. A sentence may be stored once in the file, and occur in many rows.
_ROWS = 64


class ParquetFiles(TableReader):
    """Reads parquet files whose column `translation` holds `{language: sentence}`.

    Args:
        train: Names of the training split's files, in order; `*` matches any text.
        validation: The same for validation.
        test: The same for testing.
        target: The target language, as named in the column.
        source: The source language.
        folder: Folder of the files.

    Raises:
        ValueError: If a file is missing.
    """

    def __init__(
        self,
        train: Sequence[str],
        validation: Sequence[str],
        test: Sequence[str],
        target: str,
        source: str = "en",
        folder: str = ".",
    ):
        super().__init__(train, validation, test, folder)
        self.source, self.target = source, target

    def asked(self) -> dict[str, Any]:
        return {**super().asked(), "languages": [self.source, self.target]}

    def _pairs_of(self, path: Path) -> Iterator[RawPair]:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise ImportError(
                "Parquet files need pyarrow, which is not installed. Install it with: "
                f"{extras.command('parquet')}"
            ) from error
        try:
            with parquet.ParquetFile(path) as file:
                self._check(path, file.schema_arrow)
                _check_size(path, file.metadata)
                for batch in file.iter_batches(_ROWS, columns=[_COLUMN]):
                    column = batch.column(0)
                    # As bytes, since declared text need not be valid UTF-8.
                    fields = (column.field(name) for name in (self.source, self.target))
                    sides = [side.cast(pyarrow.binary()) for side in fields]
                    for pair in zip(*(side.to_pylist() for side in sides), strict=True):
                        yield _encoded(pair[0], path), _encoded(pair[1], path)
        except pyarrow.ArrowException as error:
            raise ValueError(f"{path} is not a Parquet file, or it is damaged: {error}") from error

    def _check(self, path: Path, schema: Any) -> None:
        names = set()
        if _COLUMN in schema.names:
            kind = schema.field(_COLUMN).type
            names = {kind.field(i).name for i in range(kind.num_fields)}
        if not {self.source, self.target} <= names:
            raise ValueError(
                f"{path} must have a column {_COLUMN!r} with {self.source!r} and {self.target!r}. "
                f"It has the columns {schema.names}, and in {_COLUMN!r}: {sorted(names)}"
            )


def _encoded(sentence: bytes | None, path: Path) -> bytes:
    found = sentence or b""
    if len(found) > LONGEST_LINE:
        raise ValueError(f"{path}: a row has {len(found):,} bytes, so it is not a sentence.")
    return found


def _check_size(path: Path, metadata: Any) -> None:
    """Checks that no row group is larger than sentences can be."""
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        if group.total_byte_size > LONGEST_LINE * max(group.num_rows, 1):
            raise ValueError(
                f"{path}: {group.num_rows} rows take {group.total_byte_size:,} bytes, so they "
                "are not sentences."
            )
