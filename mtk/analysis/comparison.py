"""All verdicts on a study."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mtk import monitor
from mtk.analysis import metric_sets, plain_text, run_table
from mtk.analysis.fronts import non_dominated
from mtk.analysis.margins import has_width, widths
from mtk.analysis.measure import Measured, Models, examples_of, measured
from mtk.analysis.metric_sets import MetricSets, UnavailableError
from mtk.analysis.paired_margins import FRONT, MEAN, UTILITY, asked
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView
from mtk.analysis.verdict import BETTER, DELTA, UNDECIDED, Verdict, judge
from mtk.analysis.weights import static_weights

_MOST = 10.0  # widths of the front


@dataclass(frozen=True)
class Comparison:
    """One way to compare the methods of a study with its static weights.

    Attributes:
        space: Name of the set of objectives.
        kind: The question that is asked of the set; see `mtk.analysis.asked`.
        measured: The models that were compared.
        verdicts: Verdict by method.
    """

    space: str
    kind: str
    measured: Measured
    verdicts: dict[str, Verdict]

    @property
    def title(self) -> str:
        of = {FRONT: f"front of {self.space}", MEAN: f"mean {self.space} over tasks"}
        return of.get(self.kind, f"{self.kind}, {self.space}")


def comparisons(view: StudyView, delta: float = DELTA) -> list[Comparison]:
    """Returns the verdicts on every method, in every set of objectives.

    Without methods or static weights in the study, the list is empty.

    Args:
        view: The study.
        delta: Margin below which models count as equivalent; see `mtk.analysis.judge`.
    """
    if not view.methods or not len(view.of(STATIC)):
        return []
    runs, numbers, found = _runs(view), _questions(view.spaces), []
    for space, chosen in view.spaces.items():
        test = measured(runs, chosen)
        static = test.models.get(STATIC)
        methods = {name: own for name, own in test.models.items() if name != STATIC}
        for kind in asked(len(chosen)):
            # If either is missing, the remarks of `test` give the reason.
            verdicts = {}
            if static is not None and methods:
                verdicts = judge(static, methods, kind, numbers[space], view.units[space], delta)
            found.append(Comparison(space, kind, test, verdicts))
    return found


def better(asked: Sequence[Comparison]) -> list[str]:
    """Returns the methods that are better according to the first comparison."""
    return [n for q in asked[:1] for n, verdict in q.verdicts.items() if verdict.answer == BETTER]


def _questions(spaces: MetricSets) -> dict[str, int]:
    """Returns the number of questions among which the error is divided, by set of objectives.

    The first set gets at least half of the error, so that any number of additional metrics widens
    the intervals of its questions at most twofold; the other sets share the rest.
    """
    counts = [len(asked(len(chosen))) for chosen in spaces.values()]
    first, total = sum(counts[:1]), sum(counts)
    others = [max(2 * (total - first), total)] * len(counts[1:])
    return dict(zip(spaces, [min(2 * first, total), *others], strict=False))


def _runs(view: StudyView) -> pd.DataFrame:
    """Returns the runs to compare, in the form that `measured` takes."""
    runs = view.table[view.table["role"].isin(["baseline", "method", "replay"])]
    finished = metric_sets.finished(runs)
    values = metric_sets.selected_values(finished)
    weights = [static_weights(row) for row in runs.to_dict("records")]
    return runs.assign(
        static=runs["role"] == "baseline",
        weights=pd.Series(weights, runs.index, dtype=object),
        monitored=pd.Series(np.nan if values is None else values, finished.index, dtype=float),
        stage=runs.get("stage"),
        examples=examples_of(runs),
    )


def selected(view: StudyView, space: str) -> pd.DataFrame:
    """Returns the models that validation selects, with their values in all splits.

    Args:
        view: The study.
        space: Name of the set of objectives.
    """
    metrics = [o.column(s) for s in ("validation", "test", "train") for o in view.spaces[space]]
    columns = ["method", *run_table.varying(view.found), "seeds", *metrics]
    found = pd.concat([view.selected(m, space) for m in view.labels], ignore_index=True)
    return found.reindex(columns=columns).dropna(axis=1, how="all")


def verdicts(view: StudyView) -> pd.DataFrame:
    """Returns all verdicts on a study as one table; see `verdict_table`."""
    tables = [verdict_table(view, question) for question in comparisons(view)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["method"])


def verdict_table(view: StudyView, question: Comparison) -> pd.DataFrame:
    """Returns the verdicts as a table, one row per method; margins in % of the front's width."""
    if not question.verdicts:
        raise UnavailableError("no method was measured at the same seeds as static weights")
    models = question.measured.configurations
    found = [
        {
            "study": view.title,
            "compared": question.title,
            "method": name,
            "answer": verdict.answer,
            "margin, %": 100 * verdict.margin,
            "low, %": 100 * verdict.low,
            "high, %": 100 * verdict.high,
            "level, %": 100 * verdict.level,
            "equivalent within, %": 100 * verdict.delta,
            "held-out threshold, %": 100 * verdict.held_out,
            "extrapolated": verdict.extrapolated,
            "seeds": verdict.seeds,
            "over": "seeds and test examples" if verdict.examples else "seeds only",
            "further seeds to decide": verdict.further_seeds,
            "models": len(models[name]),
            "static models": len(models[STATIC]),
            "model": _model(view, name, models[name][verdict.model]),
            "in words": words(verdict),
        }
        for name, verdict in question.verdicts.items()
    ]
    table = pd.DataFrame(found)
    return table.assign(model="all") if question.kind == UTILITY else table


def width_table(view: StudyView, compared: Sequence[Comparison]) -> pd.DataFrame:
    """Returns the width of the static front in each task, which is 100 % of a margin.

    Raises:
        UnavailableError: If no static model was measured.
    """
    parts = []
    for space, static in static_models(compared).items():
        points, chosen = static.values.mean(1), view.spaces[space]
        front, signs = points[non_dominated(points)], [objective.sign for objective in chosen]
        columns = {
            "compared": space,
            "task": [objective.task for objective in chosen],
            "metric": [objective.metric for objective in chosen],
            "width": np.where(has_width(points), widths(points), np.nan),
            "best": signs * front.min(0),
            "worst on the front": signs * front.max(0),
            "with dominated static models": np.ptp(points, axis=0),
        }
        parts.append(pd.DataFrame(columns))
    if not parts:
        raise UnavailableError("no static model was measured")
    return pd.concat(parts, ignore_index=True)


def static_models(compared: Sequence[Comparison]) -> dict[str, Models]:
    """Returns the measured static models of each set of objectives that has verdicts."""
    return {q.space: q.measured.models[STATIC] for q in compared if q.verdicts}


def words(verdict: Verdict) -> str:
    """Returns a verdict in one or two sentences."""
    if np.isnan(verdict.margin):
        return f"Undecided: {verdict.reason}."
    if np.isnan(verdict.low):
        return (
            f"Undecided: {verdict.reason}. Margin: {_percent(verdict.margin)} of the front's width."
        )
    interval = f"{_percent(verdict.low)} to {_percent(verdict.high)}"
    said = (
        f"{verdict.answer.capitalize()}: margin {_percent(verdict.margin)} of the front's width "
        f"({verdict.level:.2%} interval {interval}; {verdict.seeds} seeds"
        f"{' and their test examples' if verdict.examples else ''})."
    )
    if verdict.answer == UNDECIDED and verdict.further_seeds is not None:
        many = "seeds" if verdict.further_seeds > 1 else "seed"
        said += (
            f" About {verdict.further_seeds} more {many} would decide if the margin stays the same."
        )
    return said + (f" {verdict.reason.capitalize()}." if verdict.reason else "")


def selection(view: StudyView, space: str) -> str:
    """Returns a sentence on how validation selected, if not by the compared metric; otherwise "".

    The second stage measures, for methods, the models selected by the losses and the best one by
    the monitor of the runs, and, for each static weighting, the latter only. Without a second
    stage, models of methods are selected by the compared metric itself.
    """
    monitors = {*metric_sets.monitors(view.table)}
    losses = monitors <= {monitor.MEAN_LOSS, monitor.RELATIVE_LOSS}
    by, models = "the losses" if losses else ", ".join(sorted(monitors)), "models"
    but = f", not by {space}"
    if space not in view.spaces.others or view.first_stage is view:
        if losses and space not in view.spaces.others:
            return ""
        models = "static weightings and their hyperparameters"
    elif not losses:
        by = f"the losses and by {by} (for static weightings: by the latter only)"
        but = "" if space == next(iter(view.spaces)) else but
    return f"Verdicts on {space} judge {models} that validation selected by {by}{but}."


def _percent(share: float) -> str:
    if abs(share) > _MOST:  # The exact distance is noise.
        return f"beyond {100 * np.copysign(_MOST, share):+.0f} %"
    return f"{round(100 * share, 1) + 0.0:+.1f} %"  # Avoids "-0.0".


def _model(view: StudyView, method: str, configuration: str) -> str:
    """Returns the parameters of the model that has the margin."""
    own = view.of(method)
    row = own[own["configuration"] == configuration].iloc[0]
    varied = [name for name in run_table.varying(own) if pd.notna(row[name])]
    values = {name: plain_text.short(str(row[name])) for name in varied}
    return ", ".join(f"{name.rpartition('.')[2]} = {value}" for name, value in values.items())
