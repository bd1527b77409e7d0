"""Test examples in groups: what resampling them does to the metrics of a run."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mtk import example_values
from mtk.analysis import plain_text, records
from mtk.analysis.objectives import Objective
from mtk.example_values import ExampleValues

FILE = "test_examples.npz"
# As many degrees of freedom, and one more, has what is said of the test set.
GROUPS = 32
_LARGEST = 64 << 20


class GroupedExamples(NamedTuple):
    """A run's metrics over random groups of its test examples, the same ones for all runs.

    Attributes:
        deviations: By `<task>/<metric>`, `(GROUPS,)`: how far the value over each group is from
            that over all, to first order; the mean is zero.
        orders: By the same names, what tells the examples and their order from others.
    """

    deviations: dict[str, np.ndarray]
    orders: dict[str, str]

    def of(self, objectives: Sequence[Objective]) -> np.ndarray | None:
        """Returns the deviations `(GROUPS, K)` where less is better; None if one is not known."""
        names = [f"{o.task}/{o.metric}" for o in objectives]
        if any(name not in self.deviations for name in names):
            return None
        signs = [objective.sign for objective in objectives]
        return np.stack([self.deviations[name] for name in names], axis=1) * signs


def of_runs(runs: pd.DataFrame) -> pd.Series:
    """Returns the examples of each run that may measure, None where there are none.

    Args:
        runs: As `load` makes them.
    """
    stage = runs.get("stage", pd.Series(None, runs.index, dtype=object))
    asked = (runs["status"] == "finished") & (stage != "select")
    found = [of_run(str(p)) if a else None for p, a in zip(runs["path"], asked, strict=True)]
    return pd.Series(found, runs.index, dtype=object)


@functools.lru_cache(maxsize=4096)
def of_run(path: str) -> GroupedExamples | None:
    """Returns the examples of a run folder; None if it has none, or they are damaged."""
    try:
        with records.opened(Path(path) / FILE, _LARGEST) as file:
            return grouped(example_values.read(file))
    except (OSError, ValueError):
        return None


def grouped(found: ExampleValues) -> GroupedExamples:
    """Returns examples in groups.

    Each group's deviation is the sum of its examples' influence on the mean, times the number of
    groups.

    Args:
        found: The examples.
    """
    step = -(-int(max(found.sizes, default=1)) // max(found.values.shape[1], 1))
    deviations, orders = {}, {}
    for row, name in enumerate(found.names):
        # Of examples that were thinned out, as many are kept as make a smaller test set.
        kept = -(-int(found.sizes[row]) // step)
        values, counts = found.values[row, :kept], found.counts[row, :kept].astype(float)
        if not kept or not counts.sum() > 0 or not np.isfinite(values).all():
            continue
        centered = counts * (values - np.average(values, weights=counts)) / counts.sum()
        sums = np.bincount(_groups(kept), centered, GROUPS)
        task, _, metric = str(name).partition("/")
        shown = f"{plain_text.name(task)}/{plain_text.name(metric)}"
        deviations[shown] = GROUPS * sums * np.sqrt(kept / int(found.sizes[row]))
        orders[shown] = str(found.orders[row])
    return GroupedExamples(deviations, orders)


@functools.lru_cache(maxsize=64)
def _groups(number: int) -> np.ndarray:
    """Returns the group of each example, at random, so that their order says nothing."""
    return np.random.default_rng(0).permutation(number) % GROUPS
