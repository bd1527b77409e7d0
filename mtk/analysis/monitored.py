"""By what runs were selected, and what that is among several runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mtk import monitor
from mtk.analysis.objectives import Objective

_CONFIGURED = "experiment.Training.monitor"


def names(table: pd.DataFrame) -> pd.Series:
    """Returns the monitor of each run of a table.

    A finished run that does not say was selected by the mean of its losses. One that has not
    finished has the monitor of those that are configured alike.
    """
    known = table["monitor"] if "monitor" in table else pd.Series(None, table.index, dtype=object)
    known = known.where(known.notna() | (table["status"] != "finished"), monitor.MEAN_LOSS)
    configured = table.get(_CONFIGURED, pd.Series(None, table.index)).map(str)
    alike = dict(zip(configured[known.notna()], known.dropna(), strict=True))
    usual = next(iter(known.dropna()), monitor.MEAN_LOSS)
    return known.where(known.notna(), configured.map(lambda text: alike.get(text, usual)))


def values(runs: pd.DataFrame) -> np.ndarray | None:
    """Returns `(N,)`: what finished runs were selected by, in one unit; less is better.

    None if one of them does not say, as those of earlier versions.

    Args:
        runs: Rows of a table as `load` makes it.

    Raises:
        mtk.monitor.DifferentMonitorsError: If they were selected by different monitors.
    """
    found = _selected(runs)
    return None if found is None else np.array(monitor.compared(found), float)


def units(runs: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray | None:
    """Returns `(K,)`: what the tasks' losses are divided by before a mean over them.

    None unless losses are compared and the runs were selected by relative ones.

    Args:
        runs: Finished runs.
        objectives: What is compared.
    """
    found = _selected(runs)
    if not found or any(objective.metric != "loss" for objective in objectives):
        return None
    known = monitor.common_units(found)
    if any(objective.task not in known for objective in objectives):
        return None
    return np.array([known[objective.task] for objective in objectives])


def _selected(runs: pd.DataFrame) -> list[monitor.Selected] | None:
    said = "selected_value" in runs and runs["selected_value"].notna().all()
    if runs.empty or not said:
        if runs.empty or names(runs).nunique() < 2:
            return None
        directions = runs["monitor_direction"].where(runs["monitor"].notna(), monitor.MIN)
        runs = runs.assign(monitor=names(runs), monitor_direction=directions)
    return [_of_row(row) for row in runs.to_dict("records")]


def _of_row(row: dict[Any, Any]) -> monitor.Selected:
    first = row["first_losses"] if isinstance(row.get("first_losses"), dict) else None
    tasks = first or {}
    losses = {task: row.get(f"validation/{task}/loss", np.nan) for task in tasks}
    return monitor.Selected(
        row["monitor"], row["monitor_direction"], row["selected_value"], losses, first
    )
