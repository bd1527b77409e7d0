"""What the reader of a study must know before he believes its verdicts."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mtk import monitor
from mtk.analysis import metric_sets, run_table
from mtk.analysis.comparison import Comparison, hinges
from mtk.analysis.measure import Measured
from mtk.analysis.select import STATIC
from mtk.analysis.study_view import StudyView

# Of fewer values, each lies at an edge.
_FEWEST_VALUES = 3


def remarks(view: StudyView, compared: Sequence[Comparison]) -> list[str]:
    """Returns a sentence for everything that was left out, assumed, or not as it should be."""
    said = [*_of_settings(view), *(text for each in compared for text in each.measured.remarks)]
    said += hinges(view, compared)
    if compared:
        said += edges(view, compared[0].measured)
    said += _not_measured(view)
    if not len(view.of(STATIC)):
        said.append("There are no static weights: no method can be judged.")
    if not view.methods:
        said.append("There is no method beside the static weights.")
    said += [text for method in [STATIC, *view.methods] for text in _of_method(view, method)]
    said += _of_runs(view)
    said += [
        f"Whether more or less of the metric {metric!r} is better is unknown; it was left out. "
        "Name it with --higher or --lower."
        for metric in view.unknown
    ]
    return list(dict.fromkeys(said))


def edges(view: StudyView, measured: Measured) -> list[str]:
    """Returns a sentence for each selected value that lies at an edge of its grid.

    A better one may lie beyond it, and then the comparison is of grids, not of methods.
    """
    return [
        f"{method}: {name.rpartition('.')[2]} = {value:g} is the {which} value of its grid, and "
        f"{number} of {len(chosen)} selected models have it. A better one may lie beyond."
        for method, chosen in measured.configurations.items()
        for name, value, which, number in _at_edges(view.of(method), chosen)
    ]


def _at_edges(own: pd.DataFrame, chosen: list[str]) -> Iterator[tuple[str, float, str, int]]:
    selected = own[own["configuration"].isin(chosen)]
    for name in run_table.varying(own):
        values = pd.to_numeric(own[name], errors="coerce")
        grid = np.unique(values.dropna())
        if len(grid) < _FEWEST_VALUES or values.isna().any():
            continue
        for value, which in ((grid[0], "smallest"), (grid[-1], "largest")):
            number = int((values[selected.index] == value).sum())
            if number:
                yield name, float(value), which, number


def _not_measured(view: StudyView) -> Iterator[str]:
    """Yields a sentence if another metric than the losses selects what was not measured."""
    if view.first_stage is view or view.found["measured"].all():
        return
    parts = []
    for space in view.spaces:
        numbers = {m: _lacking(view, m, space) for m in [STATIC, *view.methods]}
        of = [f"{method} {number}" for method, number in numbers.items() if number]
        if of and space not in ("loss", view.spaces.loss):
            parts.append(f"by {space} {', '.join(of)}")
    if parts:
        yield (
            "The second stage measures what validation selects by the losses. Not dominated in "
            f"validation, but not measured, are models that other metrics select: "
            f"{'; '.join(parts)}. They have no fresh seeds, so no table of selected models holds "
            "them."
        )


def _lacking(view: StudyView, method: str, space: str) -> int:
    """Returns how many models that validation selects by some metrics were not measured."""
    models, own = view.first_stage.candidates(method, space), view.first_stage.of(method)
    names = {*own["configuration"].iloc[models.rows[models.selected]]}
    found = view.of(method)
    return len(names - {*found["configuration"][found["measured"]]})


def _of_settings(view: StudyView) -> Iterator[str]:
    if metric_sets.is_sealed(view.table):
        yield (
            "The test of these runs is sealed: what is shown is validation, by which they were "
            "selected, so it looks better than test will. mtk bench score measures test."
        )
    study = str(view.table["study"].iloc[0]) if len(view.table) else view.title
    if view.title != study:
        setting = view.title.removeprefix(study).strip(" ()")
        yield (
            "The study has runs of several sizes, lengths or monitors, which are not compared with "
            f"one another. These are of: {setting}."
        )
    monitors = {*metric_sets.monitors(view.table)}
    if view.spaces.loss != "loss" and monitors <= {monitor.MEAN_LOSS, monitor.RELATIVE_LOSS}:
        yield (
            f"Validation selected by {', '.join(sorted(monitors))}, of the training loss with its "
            f"label smoothing; what is compared is {view.spaces.loss}, without."
        )


def _of_method(view: StudyView, method: str) -> Iterator[str]:
    own = view.of(method)
    if len(own) and not own["comparable"].any():
        yield f"No run of {method} can be compared: {ends(view.runs(method))}."
    elif len(own) == 1 and len(view.found) > 1:
        yield f"{method} has a single configuration: it was not tuned."
    elif own["diverged"].any():
        number = int((own["diverged"] > 0).sum())
        yield f"{method}: {number} of {len(own)} configurations diverged."


def _of_runs(view: StudyView) -> Iterator[str]:
    runs = view.table
    paused = runs[runs["status"] == "paused"]
    if len(paused):
        yield (
            f"{len(paused)} of {len(runs)} runs stopped at a rung of the search, where others were "
            "clearly better or go on from their state. They are not measured in test, and do not "
            "count."
        )
    lost = runs[~runs["status"].isin(["finished", "diverged", "incomplete", "paused"])]
    if len(lost):
        yield f"{len(lost)} of {len(runs)} runs left no result and do not count: {ends(lost)}."
    incomplete = runs[runs["status"] == "incomplete"]
    if len(incomplete):
        yield (
            f"{len(incomplete)} of {len(runs)} runs lack values that others have, for instance "
            f"{incomplete['reason'].iloc[0]}; they are not compared."
        )
    finished = runs[runs["status"] == "finished"]
    columns = [column for column in metric_sets.compared(runs) if column.startswith("train/")]
    lacking = finished[columns].isna()
    if number := int(lacking.any(axis=1).sum()):
        yield (
            f"{number} of {len(finished)} finished runs lack values in training, such as "
            f"{lacking.any().idxmax()}: what is shown of the training set is without them."
        )
    number = runs["data"].nunique() if "data" in runs else 0
    if number > 1 and (runs.groupby("seed")["data"].nunique() <= 1).all():
        yield f"Each seed drew data of its own, {number} sets in all, the same for all methods."
    elif number > 1:
        yield f"Its runs saw {number} different sets of data; a table below tells which."


def ends(runs: pd.DataFrame) -> str:
    """Returns how many runs ended how."""
    return ", ".join(f"{number} {name}" for name, number in runs["status"].value_counts().items())
