"""Task weights: fixed ones, and those that a method chose during training."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mtk import records
from mtk.analysis import plain_text, schema

LOG = "metrics.jsonl"


def static_weights(row: Mapping[Any, Any]) -> dict[str, float] | None:
    """Returns the fixed weights of a run by task, with a sum of one; None if unknown.

    These are the recorded weights or, in earlier versions, those passed to the combiner by name.

    Args:
        row: A row of the result of `load`.
    """
    recorded = row.get("task_weights")
    if isinstance(recorded, dict):
        return recorded
    end = f".{row.get('combiner') or 'StaticWeights'}.weights"
    text = next((row[name] for name in row if str(name).endswith(end)), None)
    try:
        value = ast.literal_eval(text) if isinstance(text, str) else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    if not isinstance(value, dict) or not all(isinstance(v, (int, float)) for v in value.values()):
        return None
    total = sum(value.values())
    named = {plain_text.name(str(task)): weight for task, weight in value.items()}
    return {task: weight / total for task, weight in named.items()} if total > 0 else None


def shares_of(rows: pd.DataFrame, task: str) -> np.ndarray:
    """Returns `(N,)`, the fixed weight of a task in each row; NaN if unknown."""
    found = [static_weights(row) or {} for row in rows.to_dict("records")]
    return np.array([weights.get(task, np.nan) for weights in found], float)


def weights_over_time(run_dir: str | Path, name: str = "weight") -> pd.DataFrame:
    """Returns the task weights of a run, with a row per evaluation and a column per task.

    Each value is the mean over the steps since the previous evaluation. Lines of the log that
    cannot be read, such as the last one of a run that was killed, are skipped.

    Args:
        run_dir: A run folder.
        name: "weight", or "weight_low" or "weight_high" for the 5th or the 95th percentile of
            single steps, as shares.

    Returns:
        The table, indexed by step; empty if the run recorded no weights.

    Raises:
        FileNotFoundError: If the run has no log.
        ValueError: If a complete line has a weight that is not a number, or no step.
    """
    found: dict[int, dict[str, float | None]] = {}
    for entry in records.json_lines(Path(run_dir) / LOG, f'"{name}"'):
        if (entry.get("name"), entry.get("split")) == (name, "train"):
            told = schema.check(entry, schema.WEIGHT, LOG)
            if told["step"] is not None and told["task"] is not None:
                found.setdefault(told["step"], {})[told["task"]] = told["value"]
    table = pd.DataFrame.from_dict(found, orient="index", dtype=float).sort_index()
    return table.rename_axis("step")


def mean_weights(run_dir: str | Path) -> dict[str, float]:
    """Returns the mean of each task's weight over all steps of a run.

    With these as static weights the method can be replayed; the remaining difference is the effect
    of changing the weights during training. NaN values are left out.

    Args:
        run_dir: A run folder.

    Raises:
        ValueError: If the run recorded no weights, or its log is damaged.
        FileNotFoundError: If the run has no log.
    """
    table = weights_over_time(run_dir)
    if table.empty:
        raise ValueError(
            f"The run {str(run_dir)!r} recorded no task weights, so they cannot be averaged."
        )
    spans = np.diff(table.index.to_numpy(float), prepend=0.0)
    means = {}
    for task in table:
        known = np.isfinite(table[task].to_numpy(float))
        if not known.any():
            raise ValueError(f"The run {str(run_dir)!r} recorded no weight for task {task!r}.")
        means[str(task)] = float(np.average(table[task][known], weights=spans[known]))
    return means
