"""The figures of a report, with their titles, captions and drawing functions."""

import inspect
import tomllib
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mtk.analysis import metric_sets
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
    utility,
)
from mtk.analysis.metric_sets import UnavailableError
from mtk.analysis.study_view import StudyView

_CAPTIONS = tomllib.loads(
    (resources.files(__package__) / "templates" / "captions.toml").read_text(encoding="utf-8")
)
# Metrics that the paper's Figure 8 compares, if the tasks have them.
_SCENES = {"pixel_accuracy", "absolute_error"}


class Entry(NamedTuple):
    """A figure of the list.

    Attributes:
        name: Name of its files.
        title: What it shows.
        draw: Draws it, or raises an `UnavailableError` with the reason.
        narrow: Draws it for narrow screens; None if scrolling will do.
        said: How to read it; None for the text in `captions.toml`.
    """

    name: str
    title: str
    draw: Callable[..., Figure]
    narrow: Callable[..., Figure] | None = None
    said: str | None = None

    @property
    def caption(self) -> str:
        """How to read it, and its number in the paper, which is also in the names of its files."""
        said = (
            str(_CAPTIONS.get(self.name, _CAPTIONS["fronts"])) if self.said is None else self.said
        )
        kind, *words = self.name.split()
        if kind != "figure":
            return said
        number = ", ".join(word.lstrip("0") for word in words)
        several = "s" if words[1:] and words[1].isdigit() else ""
        return f"{said} In the paper: Figure{several} {number}."


def _of_view(name: str, title: str, draw: Callable[[StudyView], Figure]) -> Entry:
    return Entry(name, title, lambda view, _: draw(view))


def _fronts(name: str, title: str, choose: Callable[[StudyView], list[tuple[str, str]]]) -> Entry:
    """Returns an entry for the fronts of the chosen sets of objectives and splits."""
    return Entry(name, title, lambda view, questions: fronts.draw(view, choose(view), questions))


def _losses(view: StudyView) -> list[tuple[str, str]]:
    space = view.spaces.loss
    trained = np.isfinite(metric_sets.points(view.found, view.spaces[space], "train")).any()
    return [(space, "test"), *([(space, "train")] if trained else [])]


def _others(view: StudyView) -> list[str]:
    if not view.spaces.others:
        raise UnavailableError("the tasks have no metric other than the loss")
    return view.spaces.others


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
        raise UnavailableError('the tasks share their metrics; see "Fronts of a shared metric"')
    return [(name, "test")]


def _shared_metric(view: StudyView) -> list[tuple[str, str]]:
    shared = [name for name in _others(view) if " × " not in name]
    if not shared:
        raise UnavailableError("the tasks share no metric other than the loss")
    return [(shared[0], "test")]


FOREST = Entry("verdicts", "All verdicts", forest.draw, partial(forest.draw, columns=1))
OF_A_SEARCH = [
    _of_view("course of the search", "Progress of the search by CPU time", hypervolume.draw),
]
OF_A_STUDY = [
    _fronts("figure 02 04 05", "Fronts of the losses", _losses),
    _fronts("figure 08", "Fronts of loss and metric", _loss_and_metric),
    _fronts("figure 16", "Fronts of a shared metric, test", _shared_metric),
    _fronts("figure 15", "Fronts of task-specific metrics", _first_metrics),
    _fronts("figure 14", "Fronts of BLEU", lambda _: [("bleu", "test")]),
    _fronts("figure 13", "Fronts of a metric, validation and training",
            _metric_in_two_splits),
    Entry("parallel coordinates", "Three or more tasks: parallel coordinates",
          parallel_coordinates.draw),
    _of_view("figure 03", "Task weights during training", task_weights.draw),
    _of_view("figure 06 left", "Sparse grids and seeds", seeds_and_grids.draw),
    _of_view("figure 06 right", "Ranking by evaluation weighting", utility.draw),
    _of_view("figure 10", "Mean over tasks of all configurations", averages.draw),
    _of_view("figure 11", "Mean over tasks by learning rate", averages.draw_by_rate),
    _of_view("figure 17", "Sensitivity to each hyperparameter", sensitivity.draw),
    _of_view("figure 09", "Static weights by weighting", mixtures.draw),
    _of_view("figure 18", "Hyperparameters of the best static models",
             mixtures.draw_region),
    Entry("figure 12", "All models, including dominated ones",
          lambda view, questions: fronts.draw_everything(view, _losses(view), questions)),
    _of_view("search", "Search result by cost", search.draw),
]  # fmt: skip
OVER_STUDIES = [
    Entry("figure 07", "Fronts of several model sizes", sizes.draw),
]  # fmt: skip


def of_a_study(view: StudyView) -> list[Entry]:
    """Returns the figures of a study; those of a search come first."""
    return [*(OF_A_SEARCH if hypervolume.is_search(view) else ()), *OF_A_STUDY]


def of_others(draw: Callable[[StudyView], Figure]) -> Entry:
    """Returns an entry for a user-defined figure of a study.

    Args:
        draw: Its docstring gives title and caption; raises an `UnavailableError` with the reason if
            a study has nothing to draw.
    """
    name = draw.__name__
    title, _, said = inspect.cleandoc(draw.__doc__ or name.replace("_", " ")).partition("\n")

    def drawn(view: StudyView, _: object) -> Figure:
        found = draw(view)
        if not isinstance(found, Figure):
            raise ValueError(
                f"A figure function must return a matplotlib Figure. {name} returned: {found!r}"
            )
        return found

    return Entry(f"other {name}", title.rstrip("."), drawn, said=" ".join(said.split()))
