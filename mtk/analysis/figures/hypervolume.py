"""Progress of a search as a function of the CPU time spent."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis.figures.style import STATIC_COLOR, panel
from mtk.analysis.indicators import hypervolume_of, scale_and_reference
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.select import candidates
from mtk.analysis.study_view import StudyView

_SPENT = "cpu_spent"


def is_search(view: StudyView) -> bool:
    """Returns whether a study is a search whose log is available."""
    return _SPENT in view.table and bool(view.table[_SPENT].notna().any())


def table(view: StudyView) -> pd.DataFrame:
    """Returns the curve: one row per model, in the order in which the models finished.

    Models of static weights and of methods and members of a population are treated alike.

    Returns:
        `cpu_seconds`, of all runs up to then, including runs that stopped at a rung, diverged or
        were interrupted; and `hypervolume`, on test, of the models finished so far that are
        selected on validation, as a share of the final hypervolume.

    Raises:
        UnavailableError: If the study is not a search, or no run has finished.
    """
    if not is_search(view):
        raise UnavailableError("the study is not a search")
    view = view.first_stage
    found = view.found[view.found["role"] != "single"]
    models = candidates(found, view.spaces.losses)
    if not len(models):
        raise UnavailableError("no run of the search has finished")
    runs = view.table[view.table["role"] != "single"]
    spent = runs.groupby(["method", "configuration"])[_SPENT].max()
    own = found.iloc[models.rows][["method", "configuration"]]
    times = spent.reindex(pd.MultiIndex.from_frame(own)).to_numpy(float)
    order = np.argsort(times, kind="stable")
    order = order[np.isfinite(times[order])]
    scale, corner = scale_and_reference(models.front)
    volumes = [hypervolume_of(models[order[: n + 1]], corner, scale) for n in range(len(order))]
    whole = hypervolume_of(models, corner, scale)
    return pd.DataFrame({"cpu_seconds": times[order], "hypervolume": np.array(volumes) / whole})


def draw(view: StudyView) -> Figure:
    """Draws the hypervolume over CPU seconds, as steps."""
    curve = table(view)
    drawn, axis = panel(7.2, 4.2, f"{view.title}: models selected on validation so far")
    axis.step(curve["cpu_seconds"], curve["hypervolume"], where="post", color=STATIC_COLOR)
    axis.plot(curve["cpu_seconds"], curve["hypervolume"], "o", ms=4, color=STATIC_COLOR)
    # Models selected on validation may get worse on test, so the last value need not be the best.
    top = 1.05 * max(1.0, curve["hypervolume"].max())
    axis.set(xlim=(0, None), xlabel="CPU seconds of all runs so far", ylim=(0, top))
    axis.set_ylabel("test hypervolume as a share of\nthat of the whole search")
    return drawn
