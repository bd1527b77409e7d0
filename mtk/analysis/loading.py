"""Reads studies into one table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtk.analysis import objectives, run_record
from mtk.analysis.weights import static_weights

# Combiners that weigh the tasks by fixed numbers: what every other method is compared with.
_STATIC = ("StaticWeights", "ProportionalSampling")
_FIRST = ["study", "run", "path", "method", "role", "seed", "status", "reason", "steps"]
_FIRST += ["selected_step", "combiner", "configuration"]


class StudyError(ValueError):
    """A study that cannot be read."""


def load(folders: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Reads any number of study folders into one table, a row for each run.

    Args:
        folders: Study folders: `study.json` and `runs/<hash>/`. A folder without a `study.json` is
            read too, if it holds `runs/`; then a method is called by its combiner.

    Returns:
        A table with the columns `study`, `run`, `path`, `method`, `role` (baseline, method, replay,
        single), `seed`, `status`, `reason`, `steps`, `selected_step`, `combiner`,
        `configuration`; the configuration by parameter, such as `experiment.run.learning_rate`;
        and `<split>/<task>/<metric>` with the splits train (at the last step), validation and
        test (both at the step that validation selected). `steps_per_second` and `parameters` are
        there if the runs recorded them. A status other than "finished" (diverged, unfinished,
        failed, missing, damaged, incomplete) comes with a reason; no listed run is left out.

    Raises:
        StudyError: If a folder is no study, or a study has no runs.
    """
    paths = [folders] if isinstance(folders, (str, Path)) else list(folders)
    if not paths:
        raise StudyError("There is no study to read. Name at least one study folder.")
    names: set[str] = set()
    tables = []
    for path in map(Path, paths):
        listed = _listed(path)
        name = _unused(str(listed.get("name") or path.resolve().name), names)
        rows = [run_record.read(*run) for run in _runs(path, listed)]
        if not rows:
            raise StudyError(f"The study {str(path)!r} has no runs. Run it first, or remove it.")
        _roles(rows, listed.get("baseline"))
        _complete(rows)
        tables.append(pd.DataFrame([{"study": name, **row} for row in rows]))
    return _ordered(pd.concat(tables, ignore_index=True))


def _listed(path: Path) -> dict[str, Any]:
    file = path / "study.json"
    if not file.exists() and not (path / "runs").is_dir():
        raise StudyError(
            f"{str(path)!r} is no study folder: it has neither a study.json nor a folder runs/."
        )
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StudyError(f"{str(file)!r} is damaged: {error}. Run the sweep again.") from None
    if not isinstance(content, dict) or not isinstance(content.get("runs", []), list):
        raise StudyError(f"{str(file)!r} is damaged: an object with a list `runs` was expected.")
    return content


def _runs(path: Path, listed: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Returns all runs: the listed ones, then folders that the list does not know."""
    folder = path / "runs"
    known = [run for run in listed.get("runs", []) if isinstance(run, dict) and run.get("hash")]
    names = {run["hash"] for run in known}
    there = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    runs = [(folder / run["hash"], run) for run in known]
    return runs + [(p, {}) for p in there if p.name not in names and not p.name.startswith(".")]


def _unused(name: str, used: set[str]) -> str:
    number = 2
    unique = name
    while unique in used:
        unique, number = f"{name} ({number})", number + 1
    used.add(unique)
    return unique


def _roles(rows: list[dict[str, Any]], baseline: str | None) -> None:
    for row in rows:
        static = row["combiner"] in _STATIC
        if baseline is not None:
            static = row["method"] == baseline
        if row["role"] is None:
            row["role"] = "single" if _one_hot(row) else "baseline" if static else "method"


def _one_hot(row: dict[str, Any]) -> bool:
    weights = static_weights(row) if row["combiner"] in _STATIC else None
    return weights is not None and len(weights) > 1 and max(weights.values()) == 1.0


def _complete(rows: list[dict[str, Any]]) -> None:
    """Marks finished runs in which a metric of a task is missing that others have."""
    finished = [row for row in rows if row["status"] == "finished" and row["role"] != "single"]
    expected = dict.fromkeys(c for row in finished for c in row if objectives.is_metric(c))
    for row in finished:
        lacking = [column for column in expected if row.get(column) is None]
        if lacking:
            row["status"] = "incomplete"
            row["reason"] = f"no value of {lacking[0]}" + (
                f" and {len(lacking) - 1} others" if len(lacking) > 1 else ""
            )


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    metrics = [column for column in table if objectives.is_metric(str(column))]
    table[metrics] = table[metrics].astype(float)
    for name in _FIRST:
        if name not in table:
            table[name] = None
    rest = [column for column in table if column not in {*_FIRST, *metrics}]
    return table[[*_FIRST, *rest, *metrics]]
