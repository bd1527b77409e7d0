"""Figure 6, left: sparse grids of learning rates against seeds."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import learning_rate_grids
from mtk.analysis.figures.style import COLORS, figure
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView


def grids(view: StudyView) -> list[learning_rate_grids.SparseGrids]:
    """Returns the sparse grids of every method that was tuned densely enough.

    Raises:
        UnavailableError: If none was, with the reasons.
    """
    chosen = view.spaces[view.spaces.loss]
    found, reasons = [], []
    for method in dict.fromkeys(view.found["method"]):
        try:
            found.append(learning_rate_grids.sparse_grids(view.table, chosen, method))
        except ValueError as reason:
            reasons.append(str(reason))
    if not found:
        raise UnavailableError("; ".join(reasons[:3]))
    return found


def table(view: StudyView) -> pd.DataFrame:
    """Returns the points: the mean over tasks in test of every sparse grid and of every seed."""
    rows: list[dict[str, object]] = []
    objective = view.spaces[view.spaces.loss][0]
    for grid in grids(view):
        row = {"method": grid.method, "of": "sparse grid k·10^a"}
        for start, value in zip(grid.starts, grid.by_grid, strict=True):
            rows.append({**row, "k": start, "test": objective.sign * value})
        row["of"] = f"seed at learning rate {grid.rate:g}"
        rows += [{**row, "test": objective.sign * value} for value in grid.by_seed]
    return pd.DataFrame(rows)


def draw(view: StudyView) -> Figure:
    """Draws, for each method, the results of all sparse grids beside those of all seeds."""
    found = grids(view)
    drawn = figure(4.0 + 2.6 * len(found), 4.6)
    axis = drawn.subplots()
    names = []
    objective = view.spaces[view.spaces.loss][0]
    for number, grid in enumerate(found):
        for shift, values, color in ((0, grid.by_grid, COLORS[0]), (1, grid.by_seed, COLORS[1])):
            place = 2.6 * number + shift
            values = values * objective.sign
            jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(values))
            axis.plot(place + jitter, values, "o", color=color, ms=5, alpha=0.8, mec="white")
            bar: dict[str, Any] = {"fmt": "_", "color": color, "ms": 14}
            axis.errorbar(place + 0.3, values.mean(), values.std(ddof=1), **bar)
        names += [
            (2.6 * number, f"{grid.method}\n{len(grid.starts)} sparse grids"),
            (2.6 * number + 1, f"{grid.method}\n{len(grid.by_seed)} seeds at {grid.rate:g}"),
        ]
        axis.set_xticks([x for x, _ in names], [label for _, label in names])
    axis.set_ylabel(f"mean {objective.metric} over tasks, test ({objective.direction})")
    lines = [
        f"{g.method}: {g.ratio:.1f} ({' to '.join(f'{e:.1f}' for e in g.interval())})"
        for g in found
    ]
    title = "deviation over grids without the seed's share, in deviations over seeds (95 %)"
    axis.set_title("\n".join([title, *lines]))
    axis.grid(axis="x", visible=False)
    drawn.suptitle(view.title)
    return drawn
