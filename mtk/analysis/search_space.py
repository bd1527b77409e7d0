"""What was searched: its cost, and whether the best values lie inside."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mtk.analysis import repeats
from mtk.analysis.measurement import MEASURE, STATIC, Measured
from mtk.analysis.view import View

# Of fewer values, each lies at an edge.
_FEWEST_VALUES = 3


def edges(view: View, measured: Measured) -> list[str]:
    """Returns a sentence for each selected value that lies at an edge of its grid.

    A better one may lie beyond it, and then the comparison is of grids, not of methods.

    Args:
        view: The study.
        measured: The selected models.
    """
    return [
        f"{method}: {name.rpartition('.')[2]} = {value:g} is the {which} value of its grid, and "
        f"{number} of {len(chosen)} selected models have it. A better one may lie beyond."
        for method, chosen in measured.configurations.items()
        for name, value, which, number in _at_edges(view.of(method), chosen)
    ]


def _at_edges(own: pd.DataFrame, chosen: list[str]) -> Iterator[tuple[str, float, str, int]]:
    selected = own[own["configuration"].isin(chosen)]
    for name in repeats.varying(own):
        values = pd.to_numeric(own[name], errors="coerce")
        grid = np.unique(values.dropna())
        if len(grid) < _FEWEST_VALUES or values.isna().any():
            continue
        for value, which in ((grid[0], "smallest"), (grid[-1], "largest")):
            number = int((values[selected.index] == value).sum())
            if number:
                yield name, float(value), which, number


def budgets(view: View) -> pd.DataFrame:
    """Returns how many runs each method had, tuning included, and how long they computed.

    Args:
        view: The study.
    """
    rows = []
    for method in [STATIC, *view.methods]:
        runs = view.runs(method)
        fresh = runs["stage"] == MEASURE if "stage" in runs else pd.Series(False, runs.index)
        speed = runs.get("steps_per_second", pd.Series(np.nan, runs.index))
        hours = (runs["steps"] / speed / 3600).astype(float)
        row = {"method": method, "configurations": runs["configuration"].nunique()}
        row |= {"runs that select": int((~fresh).sum()), "runs that measure": int(fresh.sum())}
        row |= {"steps": runs["steps"].sum(), "hours of training": hours.sum(min_count=1)}
        rows.append(row)
    return pd.DataFrame(rows)
