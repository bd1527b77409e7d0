"""One study in one setting, prepared for reading."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mtk.analysis import metric_sets
from mtk.analysis.indicators import search_curve
from mtk.analysis.metric_sets import MetricSets, UnavailableError
from mtk.analysis.run_table import checked, configurations, with_setting
from mtk.analysis.schema import MEASURE
from mtk.analysis.select import STATIC, Candidates, candidates

_RATE = "steps_per_second"


@dataclass(frozen=True)
class StudyView:
    """What is fairly compared: runs of one study, of one size and length.

    Attributes:
        title: The study, and the setting if there are several.
        table: Its runs, as `load` makes them.
        found: Its configurations, as `configurations` makes them.
        spaces: Sets of metrics by name, one metric for each task.
        unknown: Metrics of which nobody said whether more or less is better.
    """

    title: str
    table: pd.DataFrame
    found: pd.DataFrame
    spaces: MetricSets
    unknown: Sequence[str]

    @functools.cached_property
    def first_stage(self) -> "StudyView":
        """The same by the runs that select alone, whose configurations had the same seeds all.

        What a search reaches, and how results hang on hyperparameters, is seen there; a table of
        all configurations would have single runs beside means over fresh seeds.
        """
        runs = self.table[self.table["stage"] != MEASURE] if "stage" in self.table else self.table
        if len(runs) == len(self.table):
            return self
        return replace(self, table=runs, found=configurations(runs))

    @functools.cached_property
    def units(self) -> dict[str, np.ndarray | None]:
        """What `mean_units` has found, by set: it is asked for in every row of a table."""
        return {}

    @property
    def tasks(self) -> list[str]:
        return metric_sets.tasks(self.table)

    @property
    def methods(self) -> list[str]:
        """All methods but static weights and single-task runs, in the order of the study."""
        rows = self.found[self.found["role"].isin(["method", "replay"])]
        return list(dict.fromkeys(rows["method"]))

    @property
    def labels(self) -> list[str]:
        """All that is compared: the static weights, and then the methods."""
        return [STATIC, *self.methods]

    def of(self, method: str) -> pd.DataFrame:
        """Returns the configurations of a method, or of the static weights."""
        return _own(self.found, method)

    def runs(self, method: str) -> pd.DataFrame:
        """Returns the runs of a method, or of the static weights."""
        return _own(self.table, method)

    def candidates(self, method: str, space: str) -> Candidates:
        """Returns the measured configurations of a method; `rows` counts within `of(method)`.

        Without a second stage all that are comparable; see `mtk.analysis.configurations`.
        """
        return candidates(self.of(method), self.spaces[space])

    def all_candidates(self, space: str) -> dict[str, Candidates]:
        """Returns the candidates of the static weights and of every method that has some."""
        found = {name: self.candidates(name, space) for name in self.labels}
        return {name: models for name, models in found.items() if len(models)}


def _own(table: pd.DataFrame, method: str) -> pd.DataFrame:
    if method == STATIC:
        return table[table["role"] == "baseline"]
    return table[(table["method"] == method) & table["role"].isin(["method", "replay"])]


def views(
    table: pd.DataFrame,
    higher: Iterable[str] = (),
    lower: Iterable[str] = (),
    costs: Mapping[str, float] | None = None,
) -> list[StudyView]:
    """Returns a view for each study and setting of a table.

    Args:
        table: As `load` makes it.
        higher: Names of metrics of which more is better, if the runs do not tell.
        lower: Names of metrics of which less is better, if the runs do not tell.
        costs: Relative cost of a step by method, in place of the measured one.
    """
    found = []
    for study, runs in checked(table).groupby("study", sort=False):
        settings = with_setting(runs)["setting"]
        # A run that left no configuration behind stands with each setting's runs to be counted.
        lost = (runs["status"] != "finished") & (settings == "")
        names = list(dict.fromkeys(settings[~lost])) or [""]
        for number, name in enumerate(names):
            own = with_cost(runs[((settings == name) & ~lost) | (lost & (number == 0))], costs)
            compared = metric_sets.compared(own)
            own = own[[c for c in own if c in compared or not metric_sets.is_metric(c)]]
            title = f"{study} ({name})" if len(names) > 1 else str(study)
            sets, unknown = metric_sets.find_metric_sets(own, higher, lower)
            found.append(StudyView(title, own, configurations(own), sets, unknown))
    return found


def with_cost(table: pd.DataFrame, costs: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Adds `cost`: steps, times what a step costs in steps of static weights.

    Args:
        table: With `steps_per_second`, or else with all `costs` given.
        costs: Relative cost of a step by method, in place of the measured one.

    Returns:
        The table; `cost` is NaN where nothing is known.
    """
    rates = table.get(_RATE, pd.Series(np.nan, table.index))
    static = rates[table["role"] == "baseline"].groupby(table["study"]).median()
    own = rates.groupby([table["study"], table["method"]]).transform("median")
    measured = table["study"].map(static) / own
    given = table["method"].map(dict(costs or {}))
    return table.assign(cost=table["steps"] * given.fillna(measured))


def search_curves(view: StudyView, space: str, scale: np.ndarray) -> dict[str, pd.DataFrame]:
    """Returns what a search reaches of the mean over tasks in units of `scale`, by method.

    By the runs that select; costs are in runs of static weights.

    Raises:
        UnavailableError: If there are no static weights, or their cost is not known.
    """
    view = view.first_stage
    named = view.all_candidates(space)
    if STATIC not in named:
        raise UnavailableError("there are no static weights to compare with")
    runs = {name: view.runs(name) for name in named}
    # What has stopped on the way has not cost a whole run.
    costs = {n: own.loc[own["status"] == "finished", "cost"].median() for n, own in runs.items()}
    if not (unit := costs[STATIC]) > 0:
        raise UnavailableError("no throughput was recorded and no costs were given")
    return {
        name: search_curve(models.average(scale), costs[name] / unit)
        for name, models in named.items()
        if costs[name] > 0
    }


def mean_units(view: StudyView, space: str) -> np.ndarray | None:
    """Returns `(K,)`, the units in which tasks are averaged: the metric's, if all share one.

    Losses of tasks that were selected by relative ones do not: theirs are the first evaluation's.
    None where there are none: then each task's width of the front is its unit. So it is of other
    errors beside such losses, since they are in units of what the tasks measure.
    """
    if space not in view.units:
        view.units[space] = _mean_units(view, space)
    return view.units[space]


def _mean_units(view: StudyView, space: str) -> np.ndarray | None:
    chosen = view.spaces[space]
    finished = view.table[view.table["status"] == "finished"]
    units = metric_sets.loss_units(finished, chosen)
    if units is not None:
        return units
    metrics = {objective.metric for objective in chosen}
    different = metrics == {"loss"} and finished.get("one_unit", pd.Series()).eq(False).any()
    losses = view.spaces.get("loss", [])
    is_relative = bool(losses) and metric_sets.loss_units(finished, losses) is not None
    errors = is_relative and any(objective.sign > 0 for objective in chosen)
    return np.ones(len(chosen)) if len(metrics) == 1 and not (different or errors) else None


def in_units(units: np.ndarray | None) -> str:
    """Returns what a label says of `mean_units`; "" where they are the metric's."""
    return "" if units is None or (units == 1).all() else " in units of the first evaluation's loss"


def space_of_means(view: StudyView) -> str:
    """Returns the set of objectives whose mean is taken: a metric of all tasks, not the loss."""
    shared = [name for name in view.spaces if mean_units(view, name) is not None]
    shared = [name for name in shared if len({o.metric for o in view.spaces[name]}) == 1]
    if not shared:
        raise UnavailableError("the tasks share no metric that can be averaged")
    return next((name for name in shared if name != "loss"), shared[0])


def means(view: StudyView, method: str, split: str) -> np.ndarray:
    """Returns `(N,)` means over tasks of a method's configurations, NaN if not measured.

    In the units of `mean_units`.
    """
    space = space_of_means(view)
    own, chosen, units = view.of(method), view.spaces[space], mean_units(view, space)
    values = (metric_sets.points(own, chosen, split) / units).mean(1) * chosen[0].sign
    return np.where(own["comparable"] & own["measured"], values, np.nan)
