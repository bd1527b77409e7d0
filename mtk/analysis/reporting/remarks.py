"""Remarks that the reader of a study should know before trusting its verdicts."""

from collections.abc import Iterator, Sequence
from typing import Any

import jinja2
import pandas as pd

from mtk import monitor
from mtk.analysis import metric_sets, run_table
from mtk.analysis.comparison import Comparison, static_models
from mtk.analysis.indicators import alone, best_alone
from mtk.analysis.margins import hinge, widths
from mtk.analysis.measure import Measured
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView
from mtk.display import counted, short

# More of the metrics that are not compared are only in the table.
_MOST_METRICS = 6
# With fewer values, each lies at an edge.
_FEWEST_VALUES = 3


def templates() -> jinja2.Environment:
    """Returns the environment for the files in `templates`; only text of a page is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mtk.analysis.reporting"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"counted": counted, "short": short}
    return environment


def remarks(view: StudyView, compared: Sequence[Comparison]) -> list[str]:
    """Returns a sentence for everything that was left out, assumed or irregular."""
    runs, losses = view.table, {monitor.MEAN_LOSS, monitor.RELATIVE_LOSS}
    finished = metric_sets.finished(runs)
    ended = ["finished", "diverged", "incomplete", "paused", "duplicate"]
    lost = runs[~runs["status"].isin(ended)]
    training = [column for column in metric_sets.compared(runs) if column.startswith("train/")]
    lacking = finished[training].isna()
    monitors = {*metric_sets.monitors(runs)}
    study = str(runs["study"].iloc[0]) if len(runs) else view.title
    data = runs.get("data", pd.Series(None, runs.index))
    measured = [text for each in compared for text in each.measured.remarks]
    measured += metric_sets.constant(finished)
    metrics, tasks = left_out(view)
    said = templates().get_template("remarks.txt").render(
        sealed=metric_sets.is_sealed(runs),
        setting=view.title.removeprefix(study).strip(" ()") if view.title != study else "",
        smoothed=view.spaces.loss != "loss" and monitors <= losses and ", ".join(sorted(monitors)),
        loss=view.spaces.loss,
        measured=measured,
        hinges=_hinges(view, compared),
        edges=edges(view, compared[0].measured) if compared else [],
        not_measured=[*_not_measured(view)],
        static=len(view.of(STATIC)),
        methods=view.methods,
        configurations=[(name, view.of(name), ends(view.runs(name))) for name in view.labels],
        several=len(view.found) > 1,
        runs=len(runs),
        paused=(runs["status"] == "paused").sum(),
        lost=len(lost),
        duplicates=(runs["status"] == "duplicate").sum(),
        left_out=metrics,
        most=_MOST_METRICS,
        left_out_tasks=tasks,
        tasks=view.tasks,
        lost_ends=ends(lost),
        incomplete=[*runs["reason"][runs["status"] == "incomplete"]],
        finished=len(finished),
        lacking=lacking.any(axis=1).sum(),
        lacked=lacking.any().idxmax() if training else "",
        data_sets=data.nunique(),
        one_a_seed=(data.groupby(runs["seed"]).nunique() <= 1).all(),
        unknown=map(repr, view.unknown),
    )  # fmt: skip
    return list(dict.fromkeys(filter(None, said.split("\n"))))


def _hinges(view: StudyView, compared: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    """Yields facts on each front whose width one model would change by a small change."""
    for space, static in static_models(compared).items():
        points, tasks = static.values.mean(1), [objective.task for objective in view.spaces[space]]
        delta = next(v.delta for q in compared for v in q.verdicts.values())
        if found := hinge(points, delta):
            known = [] if static.weights is None else static.weights[found.model]
            yield {
                "space": space,
                "number": found.model + 1,
                "weights": list(zip(tasks, known, strict=False)),
                "beyond": found.amount,
                "widths": list(zip(tasks, widths(points), found.width, strict=True)),
            }


def edges(view: StudyView, measured: Measured) -> list[str]:
    """Returns a sentence for each selected value that lies at an edge of its grid.

    A better value may lie beyond the edge; the comparison is then one of grids, not of methods, or
    with single-task models that are worse than necessary.
    """
    found: list[str] = []
    for method, chosen in measured.configurations.items():
        found += _edges(method, view.of(method), chosen)
    for objective in next(iter(view.spaces.values()), ()):
        best = best_alone(view.found[view.found["measured"]], objective)
        if best is not None:
            own = alone(view.found, objective.task)
            found += _edges(f"{objective.task} alone", own, [best["configuration"]])
    return found


def _edges(label: str, own: pd.DataFrame, chosen: Sequence[str]) -> Iterator[str]:
    """Yields sentences on the selected models among a method's configurations."""
    for name in run_table.varying(own):
        values = pd.to_numeric(own[name], errors="coerce")
        if values.nunique() < _FEWEST_VALUES or values.isna().any():
            continue
        selected = values[own["configuration"].isin(chosen)]
        for value, which in ((values.min(), "smallest"), (values.max(), "largest")):
            if number := int((selected == value).sum()):
                yield (
                    f"{label}: {name.rpartition('.')[2]} = {value:g} is the {which} value of "
                    f"its grid, and {number} of {len(chosen)} selected models use it. A better "
                    "value may lie outside the grid."
                )


def _not_measured(view: StudyView) -> Iterator[str]:
    """Yields how many models per method a metric selects that were not measured."""
    if view.first_stage is view:
        return
    for space in view.spaces.others:
        of = []
        for method in view.labels:
            names = view.first_stage.selected(method, space)["configuration"]
            known = view.of(method)[lambda t: t["measured"]]["configuration"]
            if lacking := len({*names} - {*known}):
                of.append(f"{method} {lacking}")
        if of:
            yield f"by {space} {', '.join(of)}"


def left_out(view: StudyView) -> tuple[list[str], list[str]]:
    """Returns the metrics that too few runs have, with numbers, and the tasks without others."""
    splits = ["validation"] if metric_sets.is_sealed(view.table) else ["validation", "test"]
    rows = view.left_out.fillna(0).to_dict("records")
    metrics = [
        f"{row['metric']} ({', '.join(f'{row[split]:.0f} on {split}' for split in splits)})"
        for row in rows
    ]
    tasks = [str(row["metric"]).partition("/")[0] for row in rows]
    return metrics, [task for task in dict.fromkeys(tasks) if task not in view.tasks]


def ends(runs: pd.DataFrame) -> str:
    """Returns the number of runs by status, as text."""
    return ", ".join(f"{number} {name}" for name, number in runs["status"].value_counts().items())
