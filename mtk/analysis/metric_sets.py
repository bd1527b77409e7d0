"""Sets of metrics to compare, one per task, their directions, and the runs that have them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtk import monitor
from mtk.analysis.schema import SPLITS
from mtk.display import counted

# If a smaller share of the runs has a metric, the metric is left out instead of the other runs.
_SHARE = 0.5
_CONFIGURED = "experiment.Training.monitor"
_METRIC = re.compile(rf"^({'|'.join(SPLITS)})/([^/]+)/(.+)$")


class UnavailableError(Exception):
    """Raised for a figure or table that the study's data do not allow, with the reason."""


def is_metric(column: object) -> bool:
    """Returns whether a column is a metric, `<split>/<task>/<metric>`."""
    return _METRIC.match(str(column)) is not None


@dataclass(frozen=True)
class Objective:
    """One task's metric.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        sign: 1 if lower is better, -1 if higher is better.
    """

    task: str
    metric: str
    sign: int

    @property
    def name(self) -> str:
        """`<task>/<metric>`."""
        return f"{self.task}/{self.metric}"

    def column(self, split: str) -> str:
        return f"{split}/{self.name}"

    @property
    def direction(self) -> str:
        return "lower is better" if self.sign > 0 else "higher is better"


class MetricSets(dict[str, list[Objective]]):
    """Sets of objectives by name; looking up a missing one raises an `UnavailableError`."""

    def __missing__(self, name: str) -> list[Objective]:
        raise UnavailableError(f"no run has the metric {name!r} for every task")

    @property
    def loss(self) -> str:
        """The name of the set that compares runs by their losses.

        The cross-entropy, if it was recorded in addition to a training loss with label smoothing.
        """
        return "cross_entropy" if "cross_entropy" in self else "loss"

    @property
    def losses(self) -> list[Objective]:
        """The objectives of the set `loss`."""
        return self[self.loss]

    @property
    def others(self) -> list[str]:
        """The names of the sets that compare runs by other metrics than their losses."""
        return [name for name in self if name not in ("loss", self.loss)]


def directions(
    table: pd.DataFrame, higher: Iterable[str] = (), lower: Iterable[str] = ()
) -> dict[tuple[str, str], int]:
    """Returns 1 if lower is better and -1 if higher is better, by task and metric.

    Directions are those that the runs recorded; for losses, lower is always better. Metrics of
    unknown direction are left out.

    Args:
        table: The result of `load`.
        higher: Names of metrics for which higher is better, regardless of the record.
        lower: Names of metrics for which lower is better, regardless of the record.
    """
    found = {
        (task, name): 1 if which == monitor.MIN else -1
        for said in table.get("directions", ())
        for task, own in (said.items() if isinstance(said, dict) else ())
        for name, which in own.items()
        if which is not None
    }
    for task in tasks(table):
        found[task, "loss"] = 1
        found |= {(task, name): 1 for name in lower} | {(task, name): -1 for name in higher}
    return found


def tasks(table: pd.DataFrame) -> list[str]:
    """Returns the names of the tasks, in the order of the first run."""
    return list(by_task(table))


def by_task(table: pd.DataFrame) -> dict[str, list[str]]:
    """Returns the names of each task's metrics, the loss first."""
    found: dict[str, list[str]] = {}
    for column in table:
        if (match := _METRIC.match(str(column))) and table[column].notna().any():
            found.setdefault(match[2], []).append(match[3])
    return {
        task: sorted(dict.fromkeys(names), key=lambda name: name != "loss")
        for task, names in found.items()
    }


def find_metric_sets(
    table: pd.DataFrame, higher: Iterable[str] = (), lower: Iterable[str] = ()
) -> tuple[MetricSets, list[str]]:
    """Returns the sets of objectives, one per task in each, in which runs can be compared.

    The set that selected the runs comes first. Each metric that all tasks share makes a set. If
    the tasks have different metrics, each of these makes a set with the first metric, other than
    the loss, of every other task.

    Args:
        table: The result of `load`.
        higher: As in `directions`.
        lower: As in `directions`.

    Returns:
        `{name: objectives}`, and the names of metrics whose direction is unknown.
    """
    every, signs = by_task(table), directions(table, higher, lower)
    known = {t: [name for name in own if (t, name) in signs] for t, own in every.items()}
    names = list(dict.fromkeys(name for own in every.values() for name in own))
    unknown = [n for n in names if any(n in every[t] and n not in known[t] for t in known)]
    shared = [name for name in names if all(name in own for own in every.values())]
    selecting = _monitored(table, known)
    chosen = {_title(selecting): selecting} if selecting else {}
    chosen |= {name: [name] * len(every) for name in shared}
    own = [[name for name in names if name not in shared] for names in known.values()]
    chosen |= {_title(pairing): pairing for pairing in _pairings(own)}
    found = MetricSets()
    for title, metrics in chosen.items():
        pairs = list(zip(every, metrics, strict=True))
        if pairs and all(pair in signs for pair in pairs):
            found[title] = [Objective(task, name, signs[task, name]) for task, name in pairs]
    return found, unknown


def _pairings(own: list[list[str]]) -> list[list[str]]:
    """Returns sets of a metric per task: all first ones, then each other one with the first ones.

    The number of all combinations would grow exponentially with the number of tasks.
    """
    if not own or not all(own):
        return []
    first = [names[0] for names in own]
    others = [(task, name) for task, names in enumerate(own) for name in names[1:]]
    return [first, *([*first[:task], name, *first[task + 1 :]] for task, name in others)]


def _title(metrics: Sequence[str]) -> str:
    """Returns the name of a set with one metric per task."""
    return metrics[0] if len(set(metrics)) == 1 else " × ".join(metrics)


def _monitored(table: pd.DataFrame, known: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns one metric per task, preferably one that selected the runs.

    Args:
        table: The result of `load`.
        known: Names of each task's metrics, the loss first.

    Returns:
        For each task, a metric that selected, else the first one other than the loss, else the
        loss; [] if no metric selected.
    """
    told = table[table["monitor"].notna()].to_dict("records")[:1] if "monitor" in table else []
    if not told or told[0]["monitor"] in (monitor.MEAN_LOSS, monitor.RELATIVE_LOSS):
        return []
    # Earlier versions recorded only the name of the monitor, which is that of a single metric.
    terms = told[0].get("selected_terms")
    named = terms if isinstance(terms, dict) else [told[0]["monitor"]]
    own = {task: [n for n in names if f"{task}_{n}" in named] for task, names in known.items()}
    if not all(known.values()) or not any(own.values()):
        return []
    return [(own[task] or names[1:] or names)[0] for task, names in known.items()]


def points(table: pd.DataFrame, objectives: Sequence[Objective], split: str) -> np.ndarray:
    """Returns values `(N, K)` with signs such that lower is better."""
    columns = [objective.column(split) for objective in objectives]
    signs = np.array([objective.sign for objective in objectives], float)
    return table.reindex(columns=columns).to_numpy(float) * signs


def compared(runs: pd.DataFrame) -> list[str]:
    """Returns the columns of the metrics by which runs of one setting are compared.

    A metric is compared if at least half of the runs with a result have it on validation and,
    unless that is sealed, on test. Single-task runs do not count, since they lack the other
    tasks.
    """
    metrics = [column for column in runs if is_metric(column)]
    ended = _ended(runs)[lambda t: t["role"] != "single"]
    if ended.empty:
        return metrics
    shares = ended[metrics].notna().mean()
    common = [column for column in metrics if shares[column] >= _SHARE]
    needed = ("validation",) if is_sealed(runs) else ("validation", "test")
    names = {column: column.partition("/")[2] for column in common}
    return [c for c in common if {f"{split}/{names[c]}" for split in needed} <= {*common}]


def constant(runs: pd.DataFrame) -> Iterator[str]:
    """Yields a sentence for each metric that has the same test value in all finished runs.

    An example is an AUC, which is zero if the split has no positive example.
    """
    ended = finished(runs)
    for column in compared(runs) if len(ended) > 1 else ():
        split, task, name = column.split("/", 2)
        if split == "test" and ended[column].nunique() == 1:
            value = ended[column].dropna().iloc[0]
            yield (
                f"The metric {name} of {task!r} is {value:g} on the test split in all runs, so "
                "it cannot distinguish them. Check that this split has enough examples of every "
                "class."
            )


def is_sealed(runs: pd.DataFrame) -> bool:
    """Whether the test split of all finished runs is sealed, so that only validation is known."""
    ended = _ended(runs)
    return "sealed" in runs and len(ended) > 0 and bool(ended["sealed"].eq(True).all())


def finished(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the finished runs; incomplete ones are left out."""
    return runs[runs["status"] == "finished"]


def _ended(runs: pd.DataFrame) -> pd.DataFrame:
    return runs[runs["status"].isin(["finished", "incomplete"])]


def incomplete(runs: pd.DataFrame) -> pd.Series:
    """Returns which compared metrics each finished run lacks; "" for complete runs."""
    # The training split decides nothing: figures leave out its missing values.
    columns = [column for column in compared(runs) if not column.startswith("train/")]
    affected = (runs["status"] == "finished") & (runs["role"] != "single")
    texts = pd.Series("", runs.index, dtype=object)
    if not columns:
        few = "no metric has values on both validation and test in half of the runs"
        return texts.mask(affected, few)
    lacking = runs.loc[affected, columns].isna()
    for index, row in lacking[lacking.any(axis=1)].iterrows():
        more = f" and {counted(int(row.sum()) - 1, 'other')}" if row.sum() > 1 else ""
        texts[index] = f"no value of {row.idxmax()}{more}"
    return texts.mask(affected & runs["seed"].isna(), "no seed, so no runs to compare it with")


def left_out(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns each `metric` that is not compared, with the number of runs that have it by split."""
    known = {column.partition("/")[2] for column in compared(runs)}
    rows: dict[str, dict[str, object]] = {}
    for column in runs:
        split, _, name = str(column).partition("/")
        number = int(runs[column].notna().sum())
        if is_metric(column) and name not in known and number:
            rows.setdefault(name, {"metric": name})[split] = number
    return pd.DataFrame(rows.values()).reindex(columns=["metric", *SPLITS])


def monitors(table: pd.DataFrame) -> pd.Series:
    """Returns the monitor of each run of a table.

    A finished run without a recorded monitor was selected by the mean of its losses. A run that has
    not finished gets the monitor of the runs with the same configuration.
    """
    known = table["monitor"] if "monitor" in table else pd.Series(None, table.index, dtype=object)
    known = known.where(known.notna() | (table["status"] != "finished"), monitor.MEAN_LOSS)
    configured = table.get(_CONFIGURED, pd.Series(None, table.index)).map(str)
    alike = known.groupby(configured).transform("last")
    return known.fillna(alike).fillna(next(iter(known.dropna()), monitor.MEAN_LOSS))


def selected_values(runs: pd.DataFrame) -> np.ndarray | None:
    """Returns `(N,)`, the selection values of finished runs in one unit; lower is better.

    None if a run did not record its value, as in earlier versions.

    Raises:
        mtk.monitor.DifferentMonitorsError: If they were selected by different monitors.
    """
    found = _selected_runs(runs)
    return None if found is None else np.array(monitor.compared(found), float)


def selected_or_mean(runs: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray:
    """Returns `selected_values`, or, if these are not known, means on validation `(N,)`."""
    values = selected_values(runs)
    return points(runs, objectives, "validation").mean(1) if values is None else values


def loss_units(runs: pd.DataFrame, objectives: Sequence[Objective]) -> np.ndarray | None:
    """Returns `(K,)`, the divisors of the tasks' losses for a mean over tasks.

    None unless losses are compared and the runs were selected by relative losses.
    """
    found = _selected_runs(runs)
    if not found or any(objective.metric != "loss" for objective in objectives):
        return None
    known = monitor.common_units(found)
    units = [known.get(f"{objective.task}_loss") for objective in objectives]
    return None if None in units else np.array(units, float)


def _selected_runs(runs: pd.DataFrame) -> list[monitor.Selected] | None:
    if runs.empty:
        return None
    if "selected_value" not in runs or runs["selected_value"].isna().any():
        if monitors(runs).nunique() < 2:
            return None
        directions = runs["monitor_direction"].where(runs["monitor"].notna(), monitor.MIN)
        runs = runs.assign(monitor=monitors(runs), monitor_direction=directions)
    found = []
    for row in runs.to_dict("records"):
        about = row["monitor"], row["monitor_direction"], row["selected_value"]
        own = [row.get(name) for name in ("selected_terms", "first_values")]
        terms, first = (each if isinstance(each, dict) else {} for each in own)
        found.append(monitor.Selected(*about, terms=terms, first=first))
    return found
