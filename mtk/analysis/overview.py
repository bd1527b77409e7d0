"""Overview of the runs and studies in a folder."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtk import monitor, records
from mtk.analysis import plain_text, run_record
from mtk.analysis.load import read_list, runs_of
from mtk.errors import StudyError


def runs(place: Path) -> list[list[str]]:
    """Returns the rows of a table of the runs in a folder or study, with the header first.

    Raises:
        StudyError: If the study's list is damaged.
    """
    head = ["run", "state", "method", "weights", "steps", "selected by", "test"]
    if os.path.lexists(place / "study.json"):
        found = list(runs_of(place, read_list(place)))
    else:
        found = [(path, {}) for path in records.holding(place, records.RUN_FILES)]
    return [head, *(_run(run_record.read(*each)) for each in found)]


def studies(place: Path) -> list[list[str]]:
    """Returns the rows of a table of the studies in a folder, or of one study, header first.

    Raises:
        StudyError: If `place` is a single study and its list is damaged.
    """
    head = ["study", "runs", "states", "methods"]
    if os.path.lexists(place / "study.json"):
        return [head, _study(place)]
    return [head, *map(_study_or_fault, records.holding(place, ["study.json"]))]


def _run(row: Mapping[str, Any]) -> list[str]:
    shares = (row["task_weights"] or {}).items()
    weights = ", ".join(f"{task} {share:.3g}" for task, share in shares)
    about = [row["run"], row["status"], row["method"], weights]
    if row["status"] != "finished":
        return [*about, "", "", row["reason"]]
    steps = " of ".join(str(row.get(name, "?")) for name in ("selected_step", "steps"))
    by = (
        f"{monitor.short(row['monitor'])} {_number(row.get('selected_value'))}"
        if row.get("monitor")
        else ""
    )
    test = {key.split("/", 1)[1]: row[key] for key in row if key.startswith("test/")}
    figures = [f"{name.replace('/', '_')} {_number(value)}" for name, value in test.items()]
    return [*about, steps, by, ", ".join(figures)]


def _number(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.4g}"


def _study_or_fault(path: Path) -> list[str]:
    try:
        return _study(path)
    except (StudyError, OSError) as error:  # The others are still shown.
        return [plain_text.name(path.name), "", plain_text.sentence(str(error)), ""]


def _study(path: Path) -> list[str]:
    name = plain_text.name(path.name)
    rows = [run_record.read(*each) for each in runs_of(path, read_list(path))]
    counts = Counter(row["status"] for row in rows)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    return [name, str(len(rows)), states, ", ".join(dict.fromkeys(row["method"] for row in rows))]
