"""Tables in CSV files, with columns of texts, numbers, categories and labels."""

import csv
import gzip
import string
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mtk.data import bounded

# Lowercase marks of a missing number.
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
_LARGEST = 1e38  # About the largest float32.


class Scale(NamedTuple):
    """Standardizes numbers to mean 0 and standard deviation 1.

    Attributes:
        mean: Mean of each column over the training rows.
        deviation: Standard deviation likewise; 1 where all numbers are equal.
    """

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, training: np.ndarray) -> "Scale":
        """Returns the scale of the training rows, where NaN marks missing numbers."""
        least, most = np.nanmin(training, axis=0), np.nanmax(training, axis=0)
        # The deviation of equal numbers may not be 0, since their mean is rounded.
        deviation = np.where(least < most, np.nanstd(training, axis=0), 1.0)
        return cls(np.where(least < most, np.nanmean(training, axis=0), least), deviation)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns scaled numbers, float32."""
        return np.asarray((values - self.mean) / self.deviation, "float32")


class Numbers(NamedTuple):
    """Inputs of a network from columns of numbers.

    Attributes:
        names: Names of the columns.
        scale: Scale of their numbers.
        flagged: Indices of columns with missing numbers, each with an extra column that marks them.
    """

    names: Sequence[str]
    scale: Scale
    flagged: Sequence[int]

    @classmethod
    def of(
        cls, columns: Mapping[str, np.ndarray], names: Sequence[str], training: np.ndarray
    ) -> "Numbers":
        """Fits the inputs to the columns of a table.

        Args:
            columns: Columns by name, from `as_numbers`.
            names: Names of the columns to read.
            training: The training rows, for the scale.

        Raises:
            ValueError: If a column has no number in the training rows.
        """
        for name in names:
            _check_known(name, columns[name], training)
        flagged = [place for place, name in enumerate(names) if np.isnan(columns[name]).any()]
        scales = [Scale.of(columns[name][training]) for name in names]
        mean, deviation = np.array(scales).reshape(-1, 2).T
        return cls(names, Scale(mean, deviation), flagged)

    @property
    def width(self) -> int:
        """Number of inputs of the network."""
        return len(self.names) + len(self.flagged)

    def __call__(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the inputs of the network, `(rows, width)` float32."""
        values = np.stack([columns[name] for name in self.names], axis=1)
        missing = np.isnan(values)
        scaled = np.where(missing, np.float32(0), self.scale(values))
        return np.concatenate([scaled, missing[:, self.flagged].astype("float32")], axis=1)


class Target(NamedTuple):
    """A prediction target from a column.

    Attributes:
        name: Name of the column.
        texts: The text to recognize, or the texts to classify; None for numbers.
        scale: Scale of the numbers.
    """

    name: str
    texts: str | Sequence[str] | None
    scale: Scale | None

    @classmethod
    def of(
        cls, column: Any, name: str, texts: str | Sequence[str] | None, training: np.ndarray
    ) -> "Target":
        """Fits the target to a column of a table, of texts or numbers; see `Numbers.of`.

        Raises:
            ValueError: If `texts` is invalid, a text is in no row, all rows are the same, or a cell
                is not one of the texts.
        """
        if texts is None:
            _check_known(name, column, training)
            return cls(name, None, Scale.of(column[training]))
        _check_texts(name, column, texts)
        return cls(name, texts, None)

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return 1 if self.texts is None or isinstance(self.texts, str) else len(self.texts)

    def __call__(self, column: Any) -> np.ndarray:
        """Returns the labels: NaN is a missing number, and -1 a missing text."""
        if self.scale is not None:
            return self.scale(column)
        assert self.texts is not None
        if isinstance(self.texts, str):
            known = [cell == self.texts if cell else -1.0 for cell in column]
            return np.array(known, "float32")
        return places(column, self.texts)


def read(path: Path, needed: Sequence[str], delimiter: str = ",") -> dict[str, list[str]]:
    """Returns the needed columns by name, with whitespace stripped from cells.

    Args:
        path: A CSV file with a header line, possibly compressed by gzip.
        needed: Names of columns.
        delimiter: The separator of cells.

    Raises:
        ValueError: If it is not such a file, or lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"There is no table at {str(path)!r}. Give the path of a CSV file.")
    if not (isinstance(delimiter, str) and len(delimiter) == 1):
        raise ValueError(f"`delimiter` must be one character, such as ';'. Received: {delimiter!r}")
    opened = gzip.open if path.suffix == ".gz" else open
    columns: dict[str, list[str]] = {name: [] for name in needed}
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            lines = bounded.lines(file, path)
            reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
            names = [_stripped(name) for name in next(reader, [])]
            _check_names(path, names, needed)
            places = [(found.append, names.index(name)) for name, found in columns.items()]
            for row in filter(None, reader):
                if len(row) != len(names):
                    raise ValueError(
                        f"{str(path)!r}, line {reader.line_num} has {len(row)} cells, but the "
                        f"header has {len(names)} columns. A cell that contains {delimiter!r} must "
                        "be quoted."
                    )
                for append, place in places:
                    append(_stripped(row[place]))
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 ({error}). Save it as UTF-8.") from error
    except (csv.Error, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a table: {error}") from error
    return columns


def _stripped(cell: str) -> str:
    return cell.strip(string.whitespace)  # As `tf.strings.strip` does.


def _check_names(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in names]:
        known = ", ".join(names) or "none"
        hint = ""
        if len(names) == 1 and (found := [mark for mark in ";\t|," if mark in known]):
            hint = f" If cells are separated by {found[0]!r}, give it as `delimiter`."
        raise ValueError(
            f"{str(path)!r} lacks the columns {missing}. Its columns are: {known}.{hint}"
        )
    if twice := [name for name in needed if names.count(name) > 1]:
        raise ValueError(f"{str(path)!r} has more than one column {twice}. Rename the duplicates.")


def places(cells: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Returns the index of each cell among texts, int32, and -1 for other cells."""
    known = {text: place for place, text in enumerate(texts)}
    return np.array([known.get(cell, -1) for cell in cells], "int32")


def as_numbers(cells: Sequence[str], name: str) -> np.ndarray:
    """Returns a column of numbers, NaN where one is missing.

    Raises:
        ValueError: If a cell is not a number, or infinite.
    """
    try:
        found = np.array([_number(cell) for cell in cells], float)
    except ValueError as error:
        raise ValueError(
            f"The column {name!r} has values that are not numbers: {error}. Write numbers as "
            "1234.5 or 1.2e3, and leave the cell empty if the number is missing; use strings only "
            "in categories."
        ) from None
    if (np.abs(found) > _LARGEST).any():
        raise ValueError(
            f"The column {name!r} has numbers that are not finite, or larger than {_LARGEST:g}."
        )
    return found


def _number(cell: str) -> float:
    if cell.lower() in _MISSING:
        return float("nan")
    if "_" in cell:  # Python reads 12_3 as 123.
        raise ValueError(f"could not convert string to float: {cell!r}")
    return float(cell)


def _check_known(name: str, column: np.ndarray, training: np.ndarray) -> None:
    if np.isnan(column[training]).all():
        raise ValueError(f"The column {name!r} has no number in the training rows. Leave it out.")


def _check_texts(name: str, cells: Sequence[str], texts: str | Sequence[str]) -> None:
    named = [texts] if isinstance(texts, str) else texts
    # The order of a set differs between processes.
    if not isinstance(named, (Sequence, np.ndarray)) or not all(
        isinstance(text, str) for text in named
    ):
        raise ValueError(
            f"The target {name!r} must be a string, such as '1', a list of strings, or None for "
            f"numbers. Received: {texts!r}"
        )
    there = {*cells} - {""}
    if isinstance(texts, str):
        if texts not in there or len(there) == 1:
            raise ValueError(
                f"The column {name!r} has the value {texts!r} in every row, or in none."
            )
        return
    if len(texts) < 2 or len({*texts}) < len(texts):
        raise ValueError(
            f"The list of values of {name!r} must have two or more, each once. Received: "
            f"{texts!r}. To distinguish one value from all others, give it alone, not as a list."
        )
    if others := sorted(there - {*texts}):
        raise ValueError(
            f"The column {name!r} also has the values {others[:5]}, which are not in {texts!r}. "
            "List all values; cells of missing labels must be empty."
        )
    if absent := [text for text in texts if text not in there]:
        raise ValueError(f"The column {name!r} has the value {absent} in no row.")
