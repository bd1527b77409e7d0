"""A table: some of its columns are predicted from others, a task each."""

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mtk.data import bounded
from mtk.data.splits import split
from mtk.models import sharing
from mtk.places import InputPath
from mtk.ranges import check_count, check_nonnegative, check_rate
from mtk.tasks import Task
from mtk.workloads.arrays import Arrays, MakeNetwork

_EMBEDDED = 8  # Numbers that stand for a category.
_SHARE = 0.2  # Of the rows, for validation, and as many for test.


class Table(Arrays):
    """Columns of a table that are predicted from others.

    Batches are `({"numbers": (B, N) float32, column: (B,) int32}, {column: (B,)})`. Numbers are
    scaled to mean 0 and deviation 1 over the training rows; categories are embedded. A fifth of
    the rows is held out for validation, and another one for test.

    Args:
        path: A CSV file with a line of names at its head, or the same compressed with gzip.
        numbers: Names of the columns of numbers that are read.
        categories: Names of the columns of texts that are read.
        targets: By the name of a column, the text that its task recognizes (a classification: is it
            this one?), or None where the column is a number (a regression).
        width: Units of each of two shared layers, or of each layer of an expert.
        dropout: Rate behind each of them.
        network: Makes a network that shares in another way, from `mtk.models.sharing.Columns`, the
            names of the tasks, `width`, `dropout` and `seed`, such as `mtk.models.sharing.mmoe`.
        data_seed: Of the split.

    Raises:
        ValueError: If the table lacks a column, a number is none, or a text is never there.
    """

    def __init__(
        self,
        path: InputPath,
        numbers: Sequence[str],
        categories: Sequence[str],
        targets: Mapping[str, str | None],
        width: int = 128,
        dropout: float = 0.2,
        network: MakeNetwork | None = None,
        data_seed: int = 0,
    ):
        check_rate(dropout=dropout)
        check_count(width=width)
        check_nonnegative(data_seed=data_seed)
        found = _read(Path(path), [*numbers, *categories, *targets])
        rows = len(next(iter(found.values()), []))
        held_out = round(_SHARE * rows)
        parts = split(rows, (rows - 2 * held_out, held_out, held_out), data_seed)
        inputs = {name: _indices(found[name]) for name in categories}
        self._categories = {name: int(values.max()) + 1 for name, values in inputs.items()}
        self._numbers, self._width, self._dropout = len(numbers), width, dropout
        self._share = network
        if numbers:
            columns = np.stack([_numbers(found[name], name) for name in numbers], axis=1)
            inputs["numbers"] = _scaled(columns, parts[0])
        labels = {name: _labels(found[name], name, text) for name, text in targets.items()}
        labels |= {n: _scaled(labels[n], parts[0]) for n, text in targets.items() if text is None}
        self._targets = list(targets)
        tasks = [_task(name, text is None) for name, text in targets.items()]
        train, validation, test = (
            tuple({n: a[part] for n, a in own.items()} for own in (inputs, labels))
            for part in parts
        )
        super().__init__(self._network, tasks, train, validation, test, name="table")

    def _network(self, seed: int | None = None) -> keras.Model:
        if self._share is not None:
            columns = sharing.Columns(self._numbers, self._categories, _EMBEDDED)
            sizes = {"width": self._width, "dropout": self._dropout}
            return self._share(columns, self._targets, **sizes, seed=seed)
        if seed is not None:
            keras.utils.set_random_seed(seed)
        inputs: dict[str, Any] = {
            name: keras.Input((), dtype="int32", name=name) for name in self._categories
        }
        read = [
            keras.layers.Embedding(size, _EMBEDDED)(inputs[name])
            for name, size in self._categories.items()
        ]
        if self._numbers:
            inputs["numbers"] = keras.Input((self._numbers,), name="numbers")
            read.append(inputs["numbers"])
        hidden = keras.layers.Concatenate()(read) if len(read) > 1 else read[0]
        for _ in range(2):
            hidden = keras.layers.Dense(self._width, activation="relu")(hidden)
            hidden = keras.layers.Dropout(self._dropout)(hidden)
        outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in self._targets}
        return keras.Model(inputs, outputs)


def _task(name: str, is_number: bool) -> Task:
    if is_number:
        return Task(name, "mse", [keras.metrics.MeanAbsoluteError(name="absolute_error")])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    return Task(name, loss, [accuracy, keras.metrics.AUC(from_logits=True, name="auc")])


def _read(path: Path, needed: Sequence[str]) -> dict[str, list[str]]:
    """Returns the columns that are needed, by their names."""
    if not path.is_file():
        raise ValueError(f"There is no table at {str(path)!r}. Name a CSV file.")
    opened = gzip.open if path.suffix == ".gz" else open
    columns: dict[str, list[str]] = {name: [] for name in needed}
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(bounded.lines(file, path), skipinitialspace=True)
            names = next(reader, [])
            _check_names(path, names, needed)
            places = [(found.append, names.index(name)) for name, found in columns.items()]
            for row in filter(None, reader):
                if len(row) != len(names):
                    raise ValueError(
                        f"{str(path)!r}, line {reader.line_num}: there are {len(row)} cells, and "
                        f"its head names {len(names)} columns. A comma in a cell needs quotes "
                        "around the cell."
                    )
                for append, place in places:
                    append(row[place])
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 ({error}). Write it anew in it.") from error
    except (csv.Error, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{str(path)!r} is no table that can be read: {error}") from error
    return columns


def _check_names(path: Path, names: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in names]:
        known = ", ".join(names) or "none"
        raise ValueError(f"{str(path)!r} lacks the columns {missing}. There are: {known}")
    if twice := [name for name in needed if names.count(name) > 1]:
        raise ValueError(f"{str(path)!r} has more than one column {twice}. Rename the others.")


def _numbers(cells: Sequence[str], name: str) -> np.ndarray:
    try:
        found = np.array([float(cell) for cell in cells])
    except (TypeError, ValueError) as error:
        raise ValueError(f"The column {name!r} is not of numbers alone: {error}") from None
    if not np.isfinite(found).all():
        raise ValueError(f"The column {name!r} has numbers that are not finite.")
    return found


def _indices(cells: Sequence[str]) -> np.ndarray:
    return np.unique(cells, return_inverse=True)[1].astype("int32")


def _labels(cells: Sequence[str], name: str, text: str | None) -> np.ndarray:
    if text is None:
        return _numbers(cells, name)
    found = np.array([cell == text for cell in cells])
    if found.all() or not found.any():
        raise ValueError(f"The column {name!r} says {text!r} in every row, or in none.")
    return found.astype("float32")


def _scaled(values: np.ndarray, train: np.ndarray) -> np.ndarray:
    deviation = values[train].std(axis=0)
    scaled = (values - values[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return np.asarray(scaled, "float32")
