"""View of one study in one setting."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    """Runs that can be compared fairly: those of one study with the same size and length.

    Attributes:
        title: Name of the study, and the setting if there are several.
        table: Its runs, as returned by `load`.
        found: Its configurations, as returned by `configurations`.
        spaces: Sets of metrics by name, with one metric for each task.
        unknown: Metrics whose direction of improvement is unknown.
        left_out: Metrics that are not compared; see `metric_sets.left_out`.
    """

    title: str
    table: pd.DataFrame
    found: pd.DataFrame
    spaces: MetricSets
    unknown: Sequence[str]
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame)

    @functools.cached_property
    def first_stage(self) -> "StudyView":
        """The same view with the selecting runs only; all configurations have the same seeds there.

        It shows the results of a search and the effects of hyperparameters; a table of all
        configurations would mix single runs with means over fresh seeds.
        """
        runs = self.table[self.table["stage"] != MEASURE] if "stage" in self.table else self.table
        if len(runs) == len(self.table):
            return self
        return replace(self, table=runs, found=configurations(runs))

    @functools.cached_property
    def units(self) -> dict[str, np.ndarray | None]:
        """The units `(K,)` for a mean over tasks, by set: the metric's if all tasks share it.

        If the runs were selected by relative losses, the units of the losses are the first
        evaluation's values. None if there is no common unit; each task's width of the front is then
        its unit. This also holds for other errors next to such losses, since they have the units of
        the tasks.
        """
        finished, losses = metric_sets.finished(self.table), self.spaces.get("loss")
        relative = metric_sets.loss_units(finished, losses) if losses else None
        different = finished.get("one_unit", pd.Series()).eq(False).any()
        found: dict[str, np.ndarray | None] = {}
        for space, chosen in self.spaces.items():
            errors = relative is not None and any(objective.sign > 0 for objective in chosen)
            lacks_unit = different if space == "loss" else errors
            is_shared = len({objective.metric for objective in chosen}) == 1
            found[space] = np.ones(len(chosen)) if is_shared and not lacks_unit else None
        return found if relative is None else found | {"loss": relative}

    @property
    def tasks(self) -> list[str]:
        return metric_sets.tasks(self.table)

    @property
    def methods(self) -> list[str]:
        """All methods except static weights and single-task runs, in the order of the study."""
        rows = self.found[self.found["role"].isin(["method", "replay"])]
        return list(dict.fromkeys(rows["method"]))

    @property
    def labels(self) -> list[str]:
        """All labels that are compared: static weights, then the methods."""
        return [STATIC, *self.methods]

    def of(self, method: str) -> pd.DataFrame:
        """Returns the configurations of a method, or of the static weights."""
        return _own(self.found, method)

    def runs(self, method: str) -> pd.DataFrame:
        """Returns the runs of a method, or of the static weights."""
        return _own(self.table, method)

    def candidates(self, method: str, space: str) -> Candidates:
        """Returns the measured configurations of a method; `rows` are positions in `of(method)`.

        Without a second stage, all comparable ones; see `mtk.analysis.configurations`.
        """
        return candidates(self.of(method), self.spaces[space])

    def selected(self, method: str, space: str) -> pd.DataFrame:
        """Returns the configurations among `candidates` that validation selects."""
        models = self.candidates(method, space)
        return self.of(method).iloc[models.rows[models.selected]]

    def all_candidates(self, space: str) -> dict[str, Candidates]:
        """Returns the candidates of static weights and of each method, if they have any."""
        found = {name: self.candidates(name, space) for name in self.labels}
        return {name: models for name, models in found.items() if len(models)}

    def in_units(self, space: str) -> str:
        """Returns the suffix of a label for `units`; "" if they are the metric's own."""
        units = self.units[space]
        is_own = units is None or (units == 1).all()
        return "" if is_own else " in units of the first evaluation's loss"

    @property
    def space_of_means(self) -> str:
        """The set of objectives to average: preferably a metric of all tasks, not the loss."""
        shared = [name for name in self.spaces if self.units[name] is not None]
        if not shared:
            raise UnavailableError("the tasks share no metric that can be averaged")
        return next((name for name in shared if name != "loss"), shared[0])

    def means(self, method: str, split: str) -> np.ndarray:
        """Returns means over tasks `(N,)`, in `units`, of configurations; NaN if not measured."""
        space, own = self.space_of_means, self.of(method)
        chosen, units = self.spaces[space], self.units[space]
        values = (metric_sets.points(own, chosen, split) / units).mean(1) * chosen[0].sign
        return np.where(own["comparable"] & own["measured"], values, np.nan)

    def search_curves(self, space: str, scale: np.ndarray) -> dict[str, pd.DataFrame]:
        """Returns `search_curve` of the mean over tasks in units of `scale`, by method.

        Based on the selecting runs; costs are in runs of static weights.

        Raises:
            UnavailableError: If there are no static weights, or their cost is unknown.
        """
        named = self.first_stage.all_candidates(space)
        if STATIC not in named:
            raise UnavailableError("there are no static weights to compare with")
        runs = {name: metric_sets.finished(self.first_stage.runs(name)) for name in named}
        # Runs that stopped early have not cost a whole run.
        costs = {name: own["cost"].median() for name, own in runs.items()}
        if not (unit := costs[STATIC]) > 0:
            raise UnavailableError("no throughput was recorded and no costs were given")
        return {
            name: search_curve(models.average(scale), costs[name] / unit)
            for name, models in named.items()
            if costs[name] > 0
        }


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
        table: The result of `load`.
        higher: Names of metrics for which higher is better, if the runs do not record it.
        lower: Names of metrics for which lower is better, if the runs do not record it.
        costs: Relative cost of a step by method, instead of the measured one.
    """
    found = []
    for study, runs in checked(table).groupby("study", sort=False):
        settings = with_setting(runs)["setting"]
        # A run without a recorded configuration is counted with the runs of each setting.
        lost = (runs["status"] != "finished") & (settings == "")
        names = list(dict.fromkeys(settings[~lost])) or [""]
        for number, name in enumerate(names):
            own = with_cost(runs[((settings == name) & ~lost) | (lost & (number == 0))], costs)
            compared, left_out = metric_sets.compared(own), metric_sets.left_out(own)
            own = own[[c for c in own if c in compared or not metric_sets.is_metric(c)]]
            title = f"{study} ({name})" if len(names) > 1 else str(study)
            sets, unknown = metric_sets.find_metric_sets(own, higher, lower)
            found.append(StudyView(title, own, configurations(own), sets, unknown, left_out))
    return found


def with_cost(table: pd.DataFrame, costs: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Adds `cost`: the number of steps times the cost of a step in steps of static weights.

    Args:
        table: A table with `steps_per_second`, unless all `costs` are given.
        costs: Relative cost of a step by method, instead of the measured one.

    Returns:
        The table; `cost` is NaN if unknown.
    """
    rates = table.get(_RATE, pd.Series(np.nan, table.index))
    static = rates[table["role"] == "baseline"].groupby(table["study"]).median()
    own = rates.groupby([table["study"], table["method"]]).transform("median")
    measured = table["study"].map(static) / own
    given = table["method"].map(dict(costs or {}))
    return table.assign(cost=table["steps"] * given.fillna(measured))
