"""What is compared: a metric of each task, and which way it is better."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtk import monitor
from mtk.analysis.schema import SPLITS
from mtk.analysis.unavailable import UnavailableError

_METRIC = re.compile(rf"^({'|'.join(SPLITS)})/([^/]+)/(.+)$")


def is_metric(column: object) -> bool:
    """Tells columns of metrics, `<split>/<task>/<metric>`, from others."""
    return _METRIC.match(str(column)) is not None


@dataclass(frozen=True)
class Objective:
    """One task's metric.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        sign: 1 where lower is better, -1 where higher is.
    """

    task: str
    metric: str
    sign: int

    def column(self, split: str) -> str:
        return f"{split}/{self.task}/{self.metric}"

    @property
    def direction(self) -> str:
        return "lower is better" if self.sign > 0 else "higher is better"


class Spaces(dict[str, list[Objective]]):
    """Sets of objectives by name; looking up one that is not there raises UnavailableError."""

    def __missing__(self, name: str) -> list[Objective]:
        raise UnavailableError(f"no run has the metric {name!r} for every task")

    @property
    def loss(self) -> str:
        """The name of the set by which runs are compared as by their losses.

        The cross-entropy, where it was recorded beside a training loss that smooths the labels.
        """
        return "cross_entropy" if "cross_entropy" in self else "loss"


def directions(
    table: pd.DataFrame, higher: Iterable[str] = (), lower: Iterable[str] = ()
) -> dict[tuple[str, str], int]:
    """Returns 1 where less of a metric is better, -1 where more is, by task and metric.

    As the runs recorded it; less of a loss is better anyway. Metrics of which nobody said are not
    there.

    Args:
        table: As `load` makes it.
        higher: Names of metrics of which more is better, whatever is recorded.
        lower: Names of metrics of which less is better, whatever is recorded.
    """
    found: dict[tuple[str, str], int] = {}
    recorded = table.get("directions", ())
    for said in (each for each in recorded if isinstance(each, dict)):
        for task, own in said.items():
            for name, which in (own or {}).items():
                if which is not None:
                    found[task, name] = 1 if which == monitor.MIN else -1
    for task in tasks(table):
        found[task, "loss"] = 1
        found |= {(task, name): 1 for name in lower} | {(task, name): -1 for name in higher}
    return found


def tasks(table: pd.DataFrame) -> list[str]:
    """Returns the names of the tasks, in the order of the first run."""
    found = [m for column in table if (m := _METRIC.match(str(column)))]
    return list(dict.fromkeys(m[2] for m in found if table[m[0]].notna().any()))


def metrics(table: pd.DataFrame, task: str) -> list[str]:
    """Returns the names of a task's metrics, the loss first."""
    found = [m for column in table if (m := _METRIC.match(str(column))) and m[2] == task]
    names = dict.fromkeys(m[3] for m in found if table[m[0]].notna().any())
    return sorted(names, key=lambda name: name != "loss")


def spaces(
    table: pd.DataFrame, higher: Iterable[str] = (), lower: Iterable[str] = ()
) -> tuple[Spaces, list[str]]:
    """Returns the sets of objectives, one for each task, in which runs can be compared.

    Metrics that all tasks share make one set each. Where the tasks have different metrics, each
    makes a set with the first one, beside the loss, of every other task.

    Args:
        table: As `load` makes it.
        higher: As in `direction`.
        lower: As in `direction`.

    Returns:
        `{name: objectives}`, and the names of metrics whose direction is unknown.
    """
    by_task = {task: metrics(table, task) for task in tasks(table)}
    signs = directions(table, higher, lower)
    known = {t: [name for name in own if (t, name) in signs] for t, own in by_task.items()}
    every = dict.fromkeys(name for names in by_task.values() for name in names)
    unknown = [
        name for name in every if any(name in by_task[t] and name not in known[t] for t in known)
    ]
    shared = [name for name in every if all(name in names for names in by_task.values())]
    chosen = {name: [name] * len(by_task) for name in shared}
    own = [[name for name in names if name not in shared] for names in known.values()]
    for names in _pairings(own):
        chosen[" × ".join(names)] = names
    found = Spaces()
    for title, names in chosen.items():
        pairs = list(zip(by_task, names, strict=True))
        if pairs and all(pair in signs for pair in pairs):
            found[title] = [Objective(task, name, signs[task, name]) for task, name in pairs]
    return found, unknown


def _pairings(own: list[list[str]]) -> list[list[str]]:
    """Returns sets of one metric a task: the first ones, then each other one with the first ones.

    All combinations would grow exponentially with the tasks.
    """
    if not own or not all(own):
        return []
    first = [names[0] for names in own]
    others = [(task, name) for task, names in enumerate(own) for name in names[1:]]
    return [first, *([*first[:task], name, *first[task + 1 :]] for task, name in others)]


def points(table: pd.DataFrame, objectives: Sequence[Objective], split: str) -> np.ndarray:
    """Returns `(N, K)` values in which less is better."""
    columns = [objective.column(split) for objective in objectives]
    signs = np.array([objective.sign for objective in objectives], float)
    return table.reindex(columns=columns).to_numpy(float) * signs
