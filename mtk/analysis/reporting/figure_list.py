"""The figures of a report, each with what is said of it and what draws it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mtk.analysis import indicators
from mtk.analysis.figures import (
    averages,
    forest,
    fronts,
    hypervolume,
    mixtures,
    parallel_coordinates,
    search,
    seeds_and_grids,
    sensitivity,
    sizes,
    task_weights,
    toy,
    utility,
)
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.reporting import tables
from mtk.analysis.study_view import StudyView

# What Figure 8 sets against each other, where the tasks have these metrics.
_SCENES = {"pixel_accuracy", "absolute_error"}
_FRONT = (
    "Dashed: the static front, through the measured static models, labelled with the weight of the "
    "first task. Each measured model of a method stands once, with its 95 % interval over fresh "
    "seeds, without what a seed does to all models alike. Small and grey: all other configurations."
)


@dataclass(frozen=True)
class Entry:
    """A figure of the list.

    Attributes:
        name: Of its files.
        title: What it shows, and its number in the paper.
        caption: How to read it.
        draw: Draws it, or raises an `UnavailableError` with the reason.
        narrow: Draws it for narrow screens; None where scrolling will do.
    """

    name: str
    title: str
    caption: str
    draw: Callable[..., Figure]
    narrow: Callable[..., Figure] | None = None


def _of_view(draw: Callable[[StudyView], Figure]) -> Callable[[StudyView, object], Figure]:
    return lambda view, _: draw(view)


def _fronts(choose: Callable[[StudyView], list[tuple[str, str]]]) -> Callable[..., Figure]:
    """Returns what draws the fronts of the chosen sets of objectives, each in a split."""
    return lambda view, questions: fronts.draw(view, choose(view), questions)


def _losses(view: StudyView) -> list[tuple[str, str]]:
    return [(view.spaces.loss, "test"), (view.spaces.loss, "train")]


def _others(view: StudyView) -> list[str]:
    others = [name for name in view.spaces if name not in ("loss", view.spaces.loss)]
    if not others:
        raise UnavailableError("the tasks have no metric beside the loss")
    return others


def _loss_and_metric(view: StudyView) -> list[tuple[str, str]]:
    others = _others(view)
    papers = [name for name in others if {*name.split(" × ")} == _SCENES]
    return [(view.spaces.loss, "test"), ((papers or others[-1:])[0], "test")]


def _metric_in_two_splits(view: StudyView) -> list[tuple[str, str]]:
    names = _others(view)
    name = "error" if "error" in names else names[0]
    return [(name, "validation"), (name, "train")]


def _first_metrics(view: StudyView) -> list[tuple[str, str]]:
    name = _others(view)[0]
    if " × " not in name:
        raise UnavailableError("the tasks share their metrics; see Figure 16")
    return [(name, "test")]


def _shared_metric(view: StudyView) -> list[tuple[str, str]]:
    shared = [name for name in _others(view) if " × " not in name]
    if not shared:
        raise UnavailableError("the tasks share no metric beside the loss")
    return [(shared[0], "test")]


FOREST = Entry(
    "verdicts", "All verdicts",
    "The margin of each method over static weights, in percent of the front's width, with its "
    "interval, in each comparison. Band: what counts as equivalent. Upright bar: the largest "
    "margin of a static weighting that was held out, and twice the band at least where few can be, "
    "which a better method exceeds. Hollow: by extrapolation.",
    forest.draw, partial(forest.draw, columns=1),
)  # fmt: skip
OF_A_SEARCH = [
    Entry("course of the search", "How far the search came for its CPU time",
          "Each point is a model that was finished then: the hypervolume in test of what "
          "validation selects among those so far. Runs that stopped at a rung or diverged count "
          "with their time.", _of_view(hypervolume.draw)),
]  # fmt: skip
OF_A_STUDY = [
    Entry("figure 02 04 05", "Figures 2, 4, 5: fronts of the losses", _FRONT, _fronts(_losses)),
    Entry("figure 08", "Figure 8: fronts of loss and metric", _FRONT,
          _fronts(_loss_and_metric)),
    Entry("figure 16", "Figure 16: fronts of a shared metric, test", _FRONT,
          _fronts(_shared_metric)),
    Entry("figure 15", "Figure 15: fronts of the tasks' own metrics", _FRONT,
          _fronts(_first_metrics)),
    Entry("figure 14", "Figure 14: fronts of BLEU", _FRONT,
          _fronts(lambda _: [("bleu", "test")])),
    Entry("figure 13", "Figure 13: fronts of a metric, validation and training", _FRONT,
          _fronts(_metric_in_two_splits)),
    Entry("parallel coordinates", "Three tasks or more: parallel coordinates",
          "Each line is a measured model, with an axis for each task, from the worst to the best "
          "value of these models. A line above another one in every task dominates it.",
          parallel_coordinates.draw),
    Entry("figure 03", "Figure 3: task weights during training",
          "Each task's share of the weights, of runs at one learning rate. Lines: means between "
          "two evaluations. Bands: the 5th to the 95th percentile of single steps, where the runs "
          "recorded it. Dotted: equal shares.", _of_view(task_weights.draw)),
    Entry("figure 06 left", "Figure 6, left: sparse grids and seeds",
          "Points: the result of tuning on a sparse grid k·10^a of learning rates, for each k, "
          "beside the best configuration with each seed. Bars: mean and standard deviation.",
          _of_view(seeds_and_grids.draw)),
    Entry("figure 06 right", "Figure 6, right: ranking as the weighting moves",
          "How far each method is behind the best one, as the first task's weight in the "
          "evaluation moves; of the measured configurations of each method, validation chooses one "
          "for each weighting.",
          _of_view(utility.draw)),
    Entry("figure 10", "Figure 10: mean over tasks of every configuration",
          "Small points: every configuration, by the runs that select. Large: the best in "
          "validation of the measured ones, in test over the fresh seeds. What is far worse is "
          "counted, not drawn.",
          _of_view(averages.draw)),
    Entry("figure 11", "Figure 11: mean over tasks by learning rate",
          "Validation chooses the other hyperparameters at each learning rate; by the runs that "
          "select. What is far worse is counted, not drawn.",
          _of_view(averages.draw_by_rate)),
    Entry("figure 17", "Figure 17: sensitivity to each hyperparameter",
          "Every configuration in test, by task and hyperparameter, by the runs that select. Equal "
          "values are drawn beside one another.", _of_view(sensitivity.draw)),
    Entry("figure 09", "Figure 9: static weights by mixture",
          "The non-dominated configurations of each static weighting, by the runs that select.",
          _of_view(mixtures.draw)),
    Entry("figure 18", "Figure 18: hyperparameters of the best static models",
          "Large: configurations on the front of their weighting, moved a little apart. Small: "
          "all that was searched.", _of_view(mixtures.draw_region)),
    Entry("figure 12", "Figure 12: all models, dominated ones too",
          "As Figures 2, 4, 5, with the models that lie outside of their limits. What is far "
          "worse, such as runs that nearly diverged, is counted, not drawn.",
          lambda view, questions: fronts.draw_everything(view, _losses(view), questions)),
    Entry("search", "What a search reaches for its cost",
          "The mean over tasks of the best model in validation so far, when configurations are "
          "tried in random order. Bands: 10 to 90 % of the orders.", _of_view(search.draw)),
]  # fmt: skip
OVER_STUDIES = [
    Entry("figure 01", "Figure 1: what two tasks can reach (a convex problem)",
          "Losses of two quadratic tasks. Where the problem is convex, static weights reach every "
          "point of the front.", lambda _: toy.draw()),
    Entry("figure 07", "Figure 7: fronts of several model sizes",
          "Static models that validation selects, of models of several sizes, and their fronts.",
          sizes.draw),
]  # fmt: skip


def of_a_study(view: StudyView) -> list[Entry]:
    """Returns the figures of a study, those of a search first."""
    return [*(OF_A_SEARCH if hypervolume.is_search(view) else ()), *OF_A_STUDY]


def points_of(view: StudyView) -> Iterator[tuple[str, Callable[[], pd.DataFrame]]]:
    """Yields the tables of what figures draw, beside those that say what it means."""
    yield "Figure 3: weights over time", partial(task_weights.table, view)
    yield "Figure 6, left: points", partial(seeds_and_grids.table, view)
    yield "Figure 6, right: curves", partial(utility.table, view)
    if hypervolume.is_search(view):
        yield "Course of the search: points", partial(hypervolume.table, view)
    yield "What a search reaches: curves", partial(search.table, view)
    yield "Figures 2, 4, 5 and 8 to 18: configurations", partial(tables.configurations, view)


def grid_table(view: StudyView) -> pd.DataFrame:
    """Returns the spreads over sparse grids and over seeds, by method."""
    return pd.DataFrame(_grid_row(grid) for grid in seeds_and_grids.grids(view))


def _grid_row(grid: Any) -> dict[str, object]:
    deviation = grid.by_grid.std(ddof=1)
    return {
        "method": grid.method,
        "grids": len(grid.by_grid),
        "seeds": len(grid.by_seed),
        "learning rate of the seeds": grid.rate,
        "standard deviation over grids": deviation,
        "standard deviation over seeds": grid.by_seed.std(ddof=1),
        "ratio without the seed's share": grid.ratio,
        "low (95 %)": grid.interval()[0],
        "high (95 %)": grid.interval()[1],
        "over grids, % of their mean": 100 * deviation / abs(grid.by_grid.mean()),
    }


def rank_table(view: StudyView) -> pd.DataFrame:
    """Returns how methods rank over all weightings of the tasks in the evaluation."""
    ranks = indicators.ranks(utility.compared(view))
    table = pd.DataFrame({"mean rank": ranks.mean(), "best": ranks.min(), "worst": ranks.max()})
    first = (ranks == 1).mean().rename("share of weightings at the top")
    return table.join(first).rename_axis("method").reset_index()
