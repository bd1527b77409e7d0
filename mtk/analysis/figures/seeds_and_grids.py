"""Figure 6, left: sparse grids of learning rates compared with seeds."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import learning_rate_grids
from mtk.analysis.figures.style import COLORS, panel
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView


def grids(view: StudyView) -> list[learning_rate_grids.SparseGrids]:
    """Returns the sparse grids of every method that was tuned densely enough.

    Raises:
        UnavailableError: If no method was, with the reasons.
    """
    chosen = view.spaces.losses
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
    """Returns the points: the mean over tasks, on test, of every sparse grid and every seed."""
    sign, parts = view.spaces.losses[0].sign, []
    for grid in grids(view):
        over = {"method": grid.method, "of": "sparse grid k·10^a", "k": grid.starts}
        parts.append(pd.DataFrame({**over, "test": sign * grid.by_grid}))
        seeds = {"method": grid.method, "of": f"seed at learning rate {grid.rate:g}"}
        parts.append(pd.DataFrame({**seeds, "test": sign * grid.by_seed}))
    return pd.concat(parts, ignore_index=True)


def grid_table(view: StudyView) -> pd.DataFrame:
    """Returns the spread over sparse grids and over seeds, by method."""
    return pd.DataFrame(
        {
            "method": grid.method,
            "grids": len(grid.by_grid),
            "seeds": len(grid.by_seed),
            "learning rate of the seeds": grid.rate,
            "standard deviation over grids": grid.by_grid.std(ddof=1),
            "standard deviation over seeds": grid.by_seed.std(ddof=1),
            "ratio without the seed's contribution": grid.ratio,
            "low (95 %)": grid.interval()[0],
            "high (95 %)": grid.interval()[1],
            "over grids, % of their mean": 100
            * grid.by_grid.std(ddof=1)
            / abs(grid.by_grid.mean()),
        }
        for grid in grids(view)
    )


def draw(view: StudyView) -> Figure:
    """Draws, for each method, the results of all sparse grids beside those of all seeds."""
    found, objective = grids(view), view.spaces.losses[0]
    drawn, axis = panel(4.0 + 2.6 * len(found), 4.6, view.title)
    names, title = {}, "deviation over grids (without the seed's part) relative to that over seeds"
    lines = [f"{title} (95 %)"]
    for number, grid in enumerate(found):
        low, high = grid.interval()
        lines.append(f"{grid.method}: {grid.ratio:.1f} ({low:.1f} to {high:.1f})")
        for place, values, color, of in (
            (2.6 * number, grid.by_grid, COLORS[0], "sparse grids"),
            (2.6 * number + 1, grid.by_seed, COLORS[1], f"seeds at {grid.rate:g}"),
        ):
            names[place] = f"{grid.method}\n{len(values)} {of}"
            values = values * objective.sign
            jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(values))
            axis.plot(place + jitter, values, "o", color=color, ms=5, alpha=0.8, mec="white")
            mean, deviation = values.mean(), values.std(ddof=1)
            axis.errorbar(place + 0.3, mean, deviation, fmt="_", color=color, ms=14)
    axis.set_xticks([*names], [*names.values()])
    axis.set_ylabel(f"mean {objective.metric} over tasks, test ({objective.direction})")
    axis.set_title("\n".join(lines))
    axis.grid(axis="x", visible=False)
    return drawn
