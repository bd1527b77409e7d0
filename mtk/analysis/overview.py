"""Runs and studies of a folder at a glance."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtk import monitor, records
from mtk.analysis import plain_text, run_record
from mtk.analysis.load import read_list, runs_of
from mtk.errors import StudyError


def runs(place: Path) -> list[list[str]]:
    """Returns the rows of a table of the runs of a folder or a study, its head first.

    Raises:
        StudyError: If the study's list is damaged.
    """
    head = ["run", "state", "method", "weights", "steps", "selected by", "test"]
    if (place / "study.json").is_file():
        found = list(runs_of(place, read_list(place)))
    else:
        found = [(path, {}) for path in records.holding(place, records.RUN_FILES)]
    return [head, *(_run(run_record.read(*each)) for each in found)]


def studies(place: Path) -> list[list[str]]:
    """Returns the rows of a table of the studies in a folder, or of one study, its head first."""
    one = (place / "study.json").is_file()
    folders = [place] if one else records.holding(place, ["study.json"])
    return [["study", "runs", "states", "methods"], *map(_study, folders)]


def _run(row: Mapping[str, Any]) -> list[str]:
    shares = (row["task_weights"] or {}).items()
    weights = ", ".join(f"{task} {share:.3g}" for task, share in shares)
    about = [row["run"], row["status"], row["method"], weights]
    if row["status"] != "finished":
        return [*about, "", "", row["reason"]]
    steps = f"{row['selected_step']} of {row['steps']}"
    by = (
        f"{monitor.short(row['monitor'])} {_number(row['selected_value'])}"
        if row.get("monitor")
        else ""
    )
    test = {key.split("/", 1)[1]: row[key] for key in row if key.startswith("test/")}
    figures = [f"{name.replace('/', '_')} {_number(value)}" for name, value in test.items()]
    return [*about, steps, by, ", ".join(figures)]


def _number(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.4g}"


def _study(path: Path) -> list[str]:
    name = plain_text.name(path.name)
    try:
        rows = [run_record.read(*each) for each in runs_of(path, read_list(path))]
    except (StudyError, records.DamagedError, OSError) as error:
        return [name, "", plain_text.sentence(str(error)), ""]
    counts = Counter(row["status"] for row in rows)
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    return [name, str(len(rows)), states, ", ".join(dict.fromkeys(row["method"] for row in rows))]
