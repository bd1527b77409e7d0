"""All verdicts on a study."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtk.analysis import monitored, plain_text, repeats
from mtk.analysis.budget import MOST_TASKS
from mtk.analysis.candidate import Candidates
from mtk.analysis.leading import scale_of
from mtk.analysis.verdict import Verdict, judge
from mtk.analysis.view import STATIC, View


@dataclass(frozen=True)
class Question:
    """One way to compare the methods of a study with its static weights.

    Attributes:
        space: Name of the set of objectives.
        average: Whether the mean over tasks is compared, not the front.
        verdicts: By method.
    """

    space: str
    average: bool
    verdicts: dict[str, Verdict]

    @property
    def title(self) -> str:
        return f"mean {self.space} over tasks" if self.average else f"front of {self.space}"


def questions(view: View, draws: int = 1000) -> list[Question]:
    """Returns the verdicts on every method: on the front, and on the mean over tasks.

    With many tasks hardly any model dominates another, and only the mean is compared. A study
    without methods poses no question.

    Args:
        view: The study.
        draws: Of the bootstrap over seeds.
    """
    found: list[Question] = []
    for space, chosen in view.spaces.items() if view.methods else ():
        for average in (False, True):
            if average or len(chosen) <= MOST_TASKS:
                found.append(Question(space, average, _verdicts(view, space, average, draws)))
    return found


def _verdicts(view: View, space: str, average: bool, draws: int) -> dict[str, Verdict]:
    static, noise = view.candidates(STATIC, space), view.noise(space)
    models = {name: view.candidates(name, space) for name in view.methods}
    if average:
        num_tasks = len(view.spaces[space])
        scale = mean_scale(view, space, static)
        static = static.average(scale)
        models = {name: own.average(scale) for name, own in models.items()}
        noise = (noise.reshape(len(noise), 2, num_tasks) / scale).mean(2)
    return {name: judge(own, static, noise, len(models), draws) for name, own in models.items()}


def mean_scale(view: View, space: str, static: Candidates) -> np.ndarray:
    """Returns `(K,)`, the units in which tasks are averaged: the metric's, if all share one.

    Losses of tasks that were selected by relative ones do not: theirs are the first evaluation's.
    """
    chosen = view.spaces[space]
    units = monitored.units(view.table[view.table["status"] == "finished"], chosen)
    if units is not None:
        return units
    if len({objective.metric for objective in chosen}) == 1 or not len(static):
        return np.ones(len(chosen))
    return scale_of(static)


def selected(view: View, space: str) -> pd.DataFrame:
    """Returns the models that validation selects, with their values in all splits.

    Args:
        view: The study.
        space: Name of the set of objectives.
    """
    knobs = repeats.varying(view.found)
    parts = []
    for method in [STATIC, *view.methods]:
        models, own = view.candidates(method, space), view.of(method)
        rows = own.iloc[models.rows[models.selected]]
        columns = [o.column(s) for s in ("validation", "test", "train") for o in view.spaces[space]]
        parts.append(rows.reindex(columns=["method", *knobs, "seeds", *columns]))
    return pd.concat(parts, ignore_index=True).dropna(axis=1, how="all")


def verdict_table(view: View, question: Question) -> pd.DataFrame:
    """Returns the verdicts as a table, a row for each method."""
    rows = []
    for name, verdict in question.verdicts.items():
        low, high = verdict.over_seeds or (np.nan, np.nan)
        finite = np.isfinite(verdict.lead.amount)
        rows.append(
            {
                "study": view.title,
                "compared": question.title,
                "method": name,
                "conclusion": verdict.conclusion,
                "lead, %": 100 * verdict.lead.amount if finite else np.nan,
                "% of": verdict.unit,
                "seeds, low %": 100 * low,
                "seeds, high %": 100 * high,
                "static weightings held out": len(verdict.over_grids),
                "farthest of them, %": 100 * max(verdict.over_grids, default=np.nan),
                "dominating models": verdict.lead.dominates,
                "extending models": verdict.lead.extends,
                "configurations": verdict.configurations[0],
                "static configurations": verdict.configurations[1],
                "model": _model(view, question, name, verdict),
                "in words": verdict.words,
            }
        )
    return pd.DataFrame(rows)


def _model(view: View, question: Question, method: str, verdict: Verdict) -> str:
    """Returns the parameters of the model that leads."""
    if verdict.lead.model < 0:
        return ""
    models = view.candidates(method, question.space)
    own = view.of(method)
    row = own.iloc[int(models.rows[verdict.lead.model])]
    knobs = [name for name in repeats.varying(own) if pd.notna(row[name])]
    values = {name: plain_text.short(str(row[name])) for name in knobs}
    return ", ".join(f"{name.rpartition('.')[2]} = {value}" for name, value in values.items())
