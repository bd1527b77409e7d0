"""What the two examples with several regressions have in common: the file, the folds, the error."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

# Trains on the first pair and returns predictions (N, K) for the third array.
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]


def read_arff(path: str | Path, targets: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns inputs, targets and the names of the targets of an ARFF file of numbers.

    Args:
        path: The file, or the same compressed with gzip.
        targets: How many of the last columns are targets.

    Raises:
        ValueError: If the file is no such table.
    """
    path = Path(path)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("%")]
    heads = [line.lower() for line in lines]
    if "@data" not in heads:
        raise ValueError(f"{path} is no ARFF file: it has no line '@data'.")
    begin = heads.index("@data")
    names = [line.split()[1] for line in lines[:begin] if line.lower().startswith("@attribute")]
    table = np.array([line.split(",") for line in lines[begin + 1 :]], "float32")
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ValueError(f"{path} declares {len(names)} columns and has rows of another length.")
    return table[:, :-targets], table[:, -targets:], names[-targets:]


def folds(number: int, count: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the rows to train on and the rows to test on, of each fold.

    Args:
        number: Of rows.
        count: Of folds.
        seed: Of the order.
    """
    order = np.random.default_rng(seed).permutation(number)
    for test in np.array_split(order, count):
        yield np.setdiff1d(order, test), test


def relative_rmse(true: np.ndarray, predicted: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Returns each task's root mean squared error divided by that of the training mean.

    Args:
        true: Test targets `(N, K)`.
        predicted: Predictions `(N, K)`.
        train: Training targets `(M, K)`.
    """
    error = ((true - predicted) ** 2).mean(axis=0)
    return np.sqrt(error / ((true - train.mean(axis=0)) ** 2).mean(axis=0))


def cross_validate(x: np.ndarray, y: np.ndarray, fit: Fit, count: int = 10) -> np.ndarray:
    """Returns the relative RMSE `(count, K)` of each fold; inputs and targets are standardized.

    Args:
        x: Inputs `(N, D)`.
        y: Targets `(N, K)`.
        fit: Trains and predicts, in units of a standard deviation; the last argument is a seed.
        count: Of folds.
    """
    errors = []
    for number, (train, test) in enumerate(folds(len(x), count, seed=0)):
        shift, scale = x[train].mean(axis=0), x[train].std(axis=0)
        inputs = (x - shift) / np.where(scale > 0, scale, 1.0)
        mean, spread = y[train].mean(axis=0), y[train].std(axis=0)
        predicted = fit(inputs[train], (y[train] - mean) / spread, inputs[test], number)
        errors.append(relative_rmse(y[test], predicted * spread + mean, y[train]))
        print(f"fold {number + 1}: {np.round(errors[-1], 4)}", flush=True)
    return np.array(errors)
