"""The paper's figures, each with what draws it."""

from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import indicators, tables
from mtk.analysis.figures import (
    averages,
    fronts,
    mixtures,
    search,
    seeds_and_grids,
    sensitivity,
    sizes,
    task_weights,
    utility,
)
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView

# What Figure 8 sets against each other, where the tasks have these metrics.
_SCENES = {"pixel_accuracy", "absolute_error"}


def _fronts(view: StudyView) -> Figure:
    return fronts.draw(view, [(view.spaces.loss, "test"), (view.spaces.loss, "train")])


def _all_models(view: StudyView) -> Figure:
    panels = [(view.spaces.loss, "test"), (view.spaces.loss, "train")]
    return fronts.draw(view, panels, everything=True)


def _others(view: StudyView) -> list[str]:
    others = [name for name in view.spaces if name not in ("loss", view.spaces.loss)]
    if not others:
        raise UnavailableError("the tasks have no metric beside the loss")
    return others


def _loss_and_metric(view: StudyView) -> Figure:
    others = _others(view)
    papers = [name for name in others if {*name.split(" × ")} == _SCENES]
    return fronts.draw(view, [(view.spaces.loss, "test"), ((papers or others[-1:])[0], "test")])


def _metric_in_two_splits(view: StudyView) -> Figure:
    names = _others(view)
    name = "error" if "error" in names else names[0]
    return fronts.draw(view, [(name, "validation"), (name, "train")])


def _translation_quality(view: StudyView) -> Figure:
    return fronts.draw(view, [("bleu", "test")])


def _first_metrics(view: StudyView) -> Figure:
    name = _others(view)[0]
    if " × " not in name:
        raise UnavailableError("the tasks share their metrics; see Figure 16")
    return fronts.draw(view, [(name, "test")])


def _shared_metric(view: StudyView) -> Figure:
    shared = [name for name in _others(view) if " × " not in name]
    if not shared:
        raise UnavailableError("the tasks share no metric beside the loss")
    return fronts.draw(view, [(shared[0], "test")])


OF_A_STUDY: list[tuple[str, str, Callable[[StudyView], Figure]]] = [
    ("figure 02 04 05", "Figures 2, 4, 5: fronts of the losses", _fronts),
    ("figure 03", "Figure 3: task weights during training", task_weights.draw),
    ("figure 06 left", "Figure 6, left: sparse grids and seeds", seeds_and_grids.draw),
    ("figure 06 right", "Figure 6, right: ranking as the weighting moves", utility.draw),
    ("figure 08", "Figure 8: fronts of loss and metric", _loss_and_metric),
    ("figure 09", "Figure 9: static weights by mixture", mixtures.draw),
    ("figure 10", "Figure 10: mean over tasks of every configuration", averages.draw),
    ("figure 11", "Figure 11: mean over tasks by learning rate", averages.draw_by_rate),
    ("figure 12", "Figure 12: all models, dominated ones too", _all_models),
    ("figure 13", "Figure 13: fronts of a metric, validation and training", _metric_in_two_splits),
    ("figure 14", "Figure 14: fronts of BLEU", _translation_quality),
    ("figure 15", "Figure 15: fronts of the tasks' own metrics", _first_metrics),
    ("figure 16", "Figure 16: fronts of a shared metric, test", _shared_metric),
    ("figure 17", "Figure 17: sensitivity to each knob", sensitivity.draw),
    ("figure 18", "Figure 18: knobs of the best static models", mixtures.draw_region),
    ("search", "What a search reaches for its cost", search.draw),
]
OVER_STUDIES: list[tuple[str, str, Callable[[list[StudyView]], Figure]]] = [
    ("figure 07", "Figure 7: fronts of several model sizes", sizes.draw)
]


def points_of(view: StudyView) -> Iterator[tuple[str, Callable[[], pd.DataFrame]]]:
    """Yields the tables of what figures draw, beside those that say what it means."""
    yield "Figure 3: weights over time", partial(task_weights.table, view)
    yield "Figure 6, left: points", partial(seeds_and_grids.table, view)
    yield "Figure 6, right: curves", partial(utility.table, view)
    yield "What a search reaches: curves", partial(search.table, view)
    yield "Figures 2, 4, 5 and 8 to 18: configurations", partial(tables.configurations, view)


def grid_table(view: StudyView) -> pd.DataFrame:
    """Returns the spreads over sparse grids and over seeds, by method."""
    return pd.DataFrame(
        {
            "method": grid.method,
            "grids": len(grid.by_grid),
            "seeds": len(grid.by_seed),
            "learning rate of the seeds": grid.rate,
            "standard deviation over grids": grid.by_grid.std(ddof=1),
            "standard deviation over seeds": grid.by_seed.std(ddof=1),
            "ratio without the seed's share": grid.ratio,
            "low (95 %)": grid.interval()[0],
            "high (95 %)": grid.interval()[1],
            "over grids, % of their mean": 100
            * grid.by_grid.std(ddof=1)
            / abs(grid.by_grid.mean()),
        }
        for grid in seeds_and_grids.grids(view)
    )


def rank_table(view: StudyView) -> pd.DataFrame:
    """Returns how methods rank over all weightings of the tasks in the evaluation."""
    ranks = indicators.ranks(utility.compared(view))
    table = pd.DataFrame({"mean rank": ranks.mean(), "best": ranks.min(), "worst": ranks.max()})
    first = (ranks == 1).mean().rename("share of weightings at the top")
    return table.join(first).rename_axis("method").reset_index()
