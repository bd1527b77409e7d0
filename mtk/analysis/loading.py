"""Reads studies into one table."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtk.analysis import completeness, objectives, plain_text, run_record, study_list
from mtk.analysis.repeats import with_setting
from mtk.analysis.study_list import StudyError
from mtk.analysis.weights import static_weights

_FIRST = ["study", "run", "path", "method", "role", "stage", "seed", "status", "reason", "steps"]
_FIRST += ["selected_step", "combiner", "static", "task_weights", "directions", "configuration"]


def load(folders: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Reads any number of study folders into one table, a row for each run.

    Studies may come from elsewhere: nothing that they name is imported, no link is followed, and
    what does not fit the schema (`mtk.analysis.schema`) makes a damaged run. Texts are fit to be
    shown: control characters are escapes, and longer names than 100 characters are shortened.

    Args:
        folders: Study folders: `study.json` and `runs/<hash>/`. A folder without a `study.json` is
            read too, if it holds `runs/`; then a method is called by its combiner.

    Returns:
        A table with the columns `study`, `run`, `path`, `method`, `role` (baseline, method, replay,
        single), `stage` (select, measure), `seed`, `status`, `reason`, `steps`, `selected_step`,
        `combiner`, `static`, `task_weights`, `directions`, `configuration`; the configuration by
        parameter, such as `experiment.Optimization.learning_rate`; and `<split>/<task>/<metric>`
        with the splits train (at the last step), validation and test (both at the step that
        validation selected). `monitor`, `monitor_direction` ("min" or "max") and
        `selected_value` say by what, `first_losses` what it was relative to; runs of earlier
        versions, which do not say, were selected by the mean of their losses.
        `data` tells the data of a run from others. `steps_per_second` and `parameters` are
        there if the runs recorded them. A status other than "finished" (diverged, unfinished,
        failed, missing, damaged, incomplete) comes with a reason; no listed run is left out.
        Incomplete is a run that lacks a metric which half of the runs of its setting, or more, have
        in validation and in test. `attrs["remarks"]` has what the sweeps say of their runs, as
        pairs of study and remark.

    Raises:
        StudyError: If a folder is no study, or a study has no runs.
    """
    paths = [folders] if isinstance(folders, (str, Path)) else list(folders)
    if not paths:
        raise StudyError("There is no study to read. Name at least one study folder.")
    names: set[str] = set()
    tables, remarks = [], []
    for path in map(Path, paths):
        listed = study_list.read(path)
        name = _unused(listed.get("name") or plain_text.name(path.resolve().name), names)
        rows = [run_record.read(*run) for run in study_list.runs(path, listed)]
        if not rows:
            raise StudyError(f"The study {str(path)!r} has no runs. Run it first, or leave it out.")
        remarks += [(name, remark) for remark in _roles(rows, listed.get("baseline"))]
        tables.append(pd.DataFrame([{"study": name, **row} for row in rows]))
        remarks += [(name, remark) for remark in listed.get("remarks") or [] if remark]
    table = _complete(_ordered(pd.concat(tables, ignore_index=True)))
    table.attrs["remarks"] = remarks
    return table


def _unused(name: str, used: set[str]) -> str:
    number = 2
    unique = name
    while unique in used:
        unique, number = f"{name} ({number})", number + 1
    used.add(unique)
    return unique


def _roles(rows: list[dict[str, Any]], baseline: str | None) -> list[str]:
    """Fills in the roles that the study does not tell; returns what had to be assumed."""
    ended = [row for row in rows if row["status"] == "finished"]
    silent = [row for row in ended if row["static"] is None]
    for row in rows:
        if row["static"] is None:
            row["static"] = (
                static_weights(row) is not None if baseline is None else row["method"] == baseline
            )
        if row["role"] is None:
            kind = "baseline" if row["static"] else "method"
            row["role"] = "single" if _one_hot(row) else kind
    if not silent:
        return []
    by = f"the method {baseline!r}" if baseline else "what has fixed weights in its configuration"
    return [
        f"{len(silent)} of {len(ended)} finished runs are of an earlier version, which recorded "
        f"neither whether weights are static nor the direction of metrics. Taken for static: {by}. "
        "Directions of metrics other than the loss: --higher, --lower."
    ]


def _one_hot(row: dict[str, Any]) -> bool:
    weights = static_weights(row)
    return weights is not None and len(weights) > 1 and max(weights.values()) == 1.0


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """Marks finished runs in which a metric is missing that is compared in their setting."""
    settings = with_setting(table)["setting"]
    groups = table.groupby([table["study"], settings], sort=False)
    lacking = pd.concat([completeness.incomplete(runs) for _, runs in groups])
    lacking = lacking[lacking != ""]
    table.loc[lacking.index, "status"] = "incomplete"
    table.loc[lacking.index, "reason"] = lacking
    return table


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    metrics = [column for column in table if objectives.is_metric(str(column))]
    table[metrics] = table[metrics].astype(float)
    for name in _FIRST:
        if name not in table:
            table[name] = None
    rest = [column for column in table if column not in {*_FIRST, *metrics}]
    return table[[*_FIRST, *rest, *metrics]]
