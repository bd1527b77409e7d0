"""A table, of which some columns are predicted from others, one task each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtk.data import tables
from mtk.data.splits import split
from mtk.models import sharing
from mtk.places import InputPath
from mtk.ranges import check_count, check_nonnegative, check_rate
from mtk.tasks import Task
from mtk.workloads.arrays import Arrays, MakeNetwork
from mtk.workloads.cells import ServedCells

_EMBEDDED = 8  # Size of the embedding of a category.
_SHARE = 0.2  # Of the rows for validation, and as many for test.


class Table(Arrays):
    """Predicts columns of a table from others.

    Batches are `({"numbers": (B, N) float32, column: (B,) int32}, {column: (B,)})`. Numbers are
    standardized over the training rows; categories are embedded. A fifth of the rows is held out
    for validation, and another fifth for test.

    Whitespace around a cell is ignored. Numbers may be missing: empty, `NA`, `N/A`, `NaN`, `null`,
    `none` or `?`. A missing number is replaced by the mean, and each column with such cells adds
    one of the N inputs that marks them. A missing number as a target, or an empty text, is a
    missing label; `NA` is a text there. An empty category is a category like the others.

    A finished run also exports `saved_model_cells`, which reads the cells of the table:
    `{column: (B,)}`, numbers in float64, NaN if missing, and strings. In names of columns, all
    characters but letters, digits and `_` are replaced by `_`. It returns `{target: (B,)}`, a
    number in its original unit or the probability of a text, and `(B, texts)` for several texts.

    Args:
        path: A CSV file with a header line, possibly compressed by gzip.
        numbers: Names of the numeric input columns; by default none.
        categories: Names of the categorical input columns; by default none.
        targets: By column name, the text to recognize (binary); the list of all texts to classify;
            or None for a number, which is predicted and measured in standard deviations.
        width: Units of each of two shared layers, or of each layer of an expert.
        dropout: Dropout rate after each of them.
        network: Makes a network with another way of sharing, from `mtk.models.sharing.Columns`, the
            names of the tasks, `width`, `dropout` and `seed`, such as `mtk.models.sharing.mmoe`.
        data_seed: Seed of the split.
        delimiter: The separator of cells.

    Raises:
        ValueError: If the table lacks a column, one is named twice, a cell is invalid for its
            column, a text never occurs, or a split has no label of a target.
    """

    def __init__(
        self,
        path: InputPath,
        numbers: Sequence[str] = (),
        categories: Sequence[str] = (),
        *,
        targets: Mapping[str, str | Sequence[str] | None],
        width: int = 128,
        dropout: float = 0.2,
        network: MakeNetwork | None = None,
        data_seed: int = 0,
        delimiter: str = ",",
    ):
        check_rate(dropout=dropout)
        check_count(width=width)
        check_nonnegative(data_seed=data_seed)
        _check_columns(numbers, categories, targets)
        cells = tables.read(Path(path), [*numbers, *categories, *targets], delimiter)
        rows = len(next(iter(cells.values())))
        held_out = round(_SHARE * rows)
        parts = split(rows, (rows - 2 * held_out, held_out, held_out), data_seed)
        predicted = [name for name, texts in targets.items() if texts is None]
        columns: dict[str, Any] = {**cells}
        columns |= {name: tables.as_numbers(cells[name], name) for name in [*numbers, *predicted]}
        self._numbers = tables.Numbers.of(columns, numbers, parts[0])
        self._texts = {name: sorted({*cells[name]}) for name in categories}
        self._targets = {
            name: tables.Target.of(columns[name], name, texts, parts[0])
            for name, texts in targets.items()
        }
        self._width, self._dropout, self._share = width, dropout, network
        self._inputs = _names_in_keras([*numbers, *categories], {"numbers"})
        inputs: dict[str, np.ndarray] = {
            self._inputs[name]: tables.places(cells[name], texts)
            for name, texts in self._texts.items()
        }
        if numbers:
            inputs["numbers"] = self._numbers(columns)
        labels = {name: target(columns[name]) for name, target in self._targets.items()}
        for name, target in self._targets.items():
            _check_labelled(name, _missing(target, labels[name]), parts)
        train, validation, test = (
            tuple({name: column[part] for name, column in own.items()} for own in (inputs, labels))
            for part in parts
        )
        tasks = [_task(name, target, labels[name]) for name, target in self._targets.items()]
        super().__init__(self._network, tasks, train, validation, test, name="table")

    def serving(self, network: keras.Model) -> Mapping[str, tf.Module]:
        return {
            "cells": ServedCells(network, self._numbers, self._texts, self._inputs, self._targets)
        }

    def _network(self, seed: int | None = None) -> keras.Model:
        # One extra category, since a served network may receive unknown texts.
        sizes = {self._inputs[name]: len(texts) + 1 for name, texts in self._texts.items()}
        layers = _names_in_keras(self._targets, {"numbers", *sizes})
        outputs = {layers[name]: target.outputs for name, target in self._targets.items()}
        if self._share is None:
            inputs, predicted = self._layers(sizes, outputs, seed)
            return keras.Model(inputs, {name: predicted[own] for name, own in layers.items()})
        columns = sharing.Columns(self._numbers.width, sizes, _EMBEDDED, outputs)
        shared = self._share(
            columns, list(outputs), width=self._width, dropout=self._dropout, seed=seed
        )
        if list(layers) == list(outputs):
            return shared
        predicted = {name: shared.output[own] for name, own in layers.items()}
        return keras.Model(shared.input, predicted, name=shared.name)

    def _layers(
        self, sizes: Mapping[str, int], outputs: Mapping[str, int], seed: int | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the inputs of two shared layers, and the outputs of the heads on them."""
        if seed is not None:
            keras.utils.set_random_seed(seed)
        inputs: dict[str, Any] = {name: keras.Input((), dtype="int32", name=name) for name in sizes}
        read = [
            keras.layers.Embedding(size, _EMBEDDED)(inputs[name]) for name, size in sizes.items()
        ]
        if width := self._numbers.width:
            inputs["numbers"] = keras.Input((width,), name="numbers")
            read.append(inputs["numbers"])
        hidden = keras.layers.Concatenate()(read) if len(read) > 1 else read[0]
        for _ in range(2):
            hidden = keras.layers.Dense(self._width, activation="relu")(hidden)
            hidden = keras.layers.Dropout(self._dropout)(hidden)
        heads = {name: keras.layers.Dense(size, name=name) for name, size in outputs.items()}
        return inputs, {name: head(hidden) for name, head in heads.items()}


def _names_in_keras(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Returns a valid layer name for each column, unchanged if possible."""
    found: dict[str, str] = {}
    for name in names:
        own = re.sub("[^A-Za-z0-9_]", "_", name)
        own = own if own[:1].isalnum() else f"column{own}"
        while own in {*found.values(), *taken}:
            own += "_"
        found[name] = own
    return found


def _check_columns(
    numbers: Sequence[str], categories: Sequence[str], targets: Mapping[str, Any]
) -> None:
    given = {"numbers": numbers, "categories": categories, "targets": targets}
    for what, names in given.items():
        kind, means = (Mapping, "a dict") if what == "targets" else (Sequence, "a list")
        if isinstance(names, str) or not isinstance(names, kind):
            raise ValueError(f"`{what}` must name several columns, as {means}. Received: {names!r}")
    every = [*numbers, *categories, *targets]
    if twice := sorted({name for name in every if every.count(name) > 1}):
        raise ValueError(
            f"The columns {twice} are given more than once. A column must be either a target, a "
            "number or a category."
        )
    if not targets or not (numbers or categories):
        raise ValueError(
            "Give one or more input columns, in `numbers` or `categories`, and targets."
        )


def _missing(target: tables.Target, labels: np.ndarray) -> np.ndarray:
    return np.isnan(labels) if target.texts is None else labels < 0


def _check_labelled(name: str, missing: np.ndarray, parts: Sequence[np.ndarray]) -> None:
    for split_name, part in zip(("training", "validation", "test"), parts, strict=True):
        if missing[part].all():
            raise ValueError(
                f"The target {name!r} has no label in the {split_name} rows. Leave it out, or "
                "change the split with `data_seed`."
            )


def _task(name: str, target: tables.Target, labels: np.ndarray) -> Task:
    some_missing = _missing(target, labels).any()
    if target.texts is None:
        missing = float("nan") if some_missing else None
        metrics = [keras.metrics.MeanAbsoluteError(name="absolute_error")]
        return Task(name, "mse", metrics, missing)
    missing = -1 if some_missing else None
    if target.outputs > 1:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return Task(name, loss, ["accuracy"], missing)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    return Task(name, loss, [accuracy, keras.metrics.AUC(from_logits=True, name="auc")], missing)
