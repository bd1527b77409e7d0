"""Reads studies into one table."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mtk import records
from mtk.analysis import metric_sets, plain_text, run_record, schema
from mtk.analysis.cpu_times import cpu_times
from mtk.analysis.run_table import STATIC, with_setting
from mtk.analysis.weights import static_weights
from mtk.display import counted, significant
from mtk.errors import StudyError

_FIRST = ["study", "run", "path", "method", "role", "stage", "seed", "status", "reason", "steps"]
_FIRST += ["selected_step", "combiner", "static", "task_weights", "directions", "configuration"]


def load(folders: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Reads any number of study folders into one table with a row for each run.

    Studies may be untrusted: nothing that they name is imported, no link is followed, and a run
    that does not fit the schema (`mtk.analysis.schema`) counts as damaged. Text is safe to display:
    control characters are escaped, and names longer than 100 characters are shortened.

    Args:
        folders: Study folders: `study.json` and `runs/<hash>/`. A folder with `runs/` but without
            `study.json` is read too; its methods are named after their combiners.

    Returns:
        A table with the columns `study`, `run`, `path`, `method`, `role` (baseline, method, replay,
        single), `stage` (select, measure), `seed`, `status`, `reason`, `steps`, `selected_step`,
        `combiner`, `static`, `task_weights`, `directions`, `configuration`; the configuration by
        parameter, such as `experiment.Optimization.learning_rate`; and `<split>/<task>/<metric>`
        with the splits train (at the last step), validation and test (both at the step selected on
        validation). `monitor`, `monitor_direction` ("min" or "max") and `selected_value` describe
        the selection; `selected_terms` and `first_values` (`terms` and `first` of
        `mtk.monitor.Selected`) are its metrics and the values that they are relative to. Runs of
        earlier versions, which did not record this, were selected by the mean of their losses.
        `lineage` describes the runs from which a run branched and what changed there, `first_step`
        is the step of the last branching (earlier steps are those of other runs), and `data`
        distinguishes the data of runs. `steps_per_second` and `parameters` are present if the runs
        recorded them, and `cpu_seconds` (over all sessions of a run) if the study's log has them.
        In a search, `cpu_spent` is the CPU time of all its runs at the end of this one, and `goal`
        is present if the search had a goal other than the front. A status other than
        "finished" (diverged, paused, unfinished, failed, pending, damaged, incomplete, duplicate)
        comes with a reason; no listed run is left out. A run is incomplete if it has no seed, or
        lacks, on validation or test, a metric that at least half of the runs of its setting have on
        both. It is a duplicate if an earlier run has the same method, parameters and seed.
        `attrs["remarks"]` holds the remarks of the sweeps on their runs, and assumptions that had
        to be made, as pairs of study and remark.

    Raises:
        StudyError: If a folder is not a study, or a study has no runs.
    """
    paths = [folders] if isinstance(folders, (str, Path)) else list(folders)
    if not paths:
        raise StudyError("No study to read. Give at least one study folder.")
    names: set[str] = set()
    tables, remarks = [], []
    for path in map(Path, paths):
        listed = read_list(path)
        study = _unused(listed.get("name") or plain_text.name(path.resolve().name), names)
        runs = list(runs_of(path, listed))
        rows = [run_record.read(*run) for run in runs]
        unlisted = [not about for _, about in runs] if listed.get("runs") else []
        for name, seconds in zip(("cpu_seconds", "cpu_spent"), cpu_times(path), strict=True):
            for row in rows if seconds else ():
                row[name] = seconds.get(row["run"])
        if goal := _goal(path):
            rows = [{**row, "goal": goal} for row in rows]
        if not rows:
            raise StudyError(
                f"The study {str(path)!r} has no runs. Run the study first, or leave it out."
            )
        said = [*_parameters(rows), *_labels(rows, unlisted)]
        said += _roles(rows, listed.get("baseline"))
        remarks += [(study, remark) for remark in [*said, *(listed.get("remarks") or [])] if remark]
        tables.append(pd.DataFrame([{"study": study, **row} for row in rows]))
    table = _complete(_ordered(pd.concat(tables, ignore_index=True)))
    table.attrs["remarks"] = remarks
    return table


def _goal(path: Path) -> str | None:
    """Returns the goal of a search, unless it is the front; None for other studies."""
    try:
        told = run_record.checked(path / "search.json", schema.SEARCH)["search"]
    except (records.DamagedError, OSError):
        return None
    return told["goal"] if told and told["goal"] != "Front" else None


def read_list(path: Path) -> dict[str, Any]:
    """Returns the entries of `study.json`: `name`, `baseline`, `runs` and `remarks`, or None each.

    The entries of each run are unchecked, except for the hash; `run_record.read` checks them.
    A folder with `runs/` but without the file is a study too.

    Raises:
        StudyError: If the folder is not a study, or the file is damaged.
    """
    content = records.study_list(path)
    if not content:
        return {}
    file = path / "study.json"
    try:
        found = schema.check(content, schema.STUDY, file.name)
        for number, run in enumerate(found["runs"] or []):
            if run["hash"] is None:
                raise records.DamagedError(f"{file.name}, run {number} has no 'hash'")
    except records.DamagedError as error:
        raise StudyError(f"{str(file)!r} is damaged: {error}. Run the sweep again.") from None
    return {**found, "runs": content.get("runs")}


def runs_of(path: Path, listed: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields the folder of each run, with its entries of `read_list`: {} for unlisted runs.

    Raises:
        StudyError: If the folder of the runs is a link, which could lead anywhere.
    """
    folder = path / "runs"
    if folder.is_symlink():
        raise StudyError(f"{str(folder)!r} is a symbolic link. Replace it by the folder itself.")
    known = {run["hash"]: run for run in listed.get("runs") or []}
    yield from ((folder / name, run) for name, run in known.items())
    there = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    yield from ((p, {}) for p in there if p.name not in known and not p.name.startswith("."))


def _unused(name: str, used: set[str]) -> str:
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    unique = next(each for each in itertools.chain([name], numbered) if each not in used)
    used.add(unique)
    return unique


def _parameters(rows: list[dict[str, Any]]) -> list[str]:
    """Adds the parameters to the rows, except for those that hold the seed.

    Returns:
        A remark if the parameters of some runs are known only from the study's list.
    """
    ended = [row for row in rows if row["status"] == "finished"]
    silent = [row for row in ended if not row["recorded"]]
    for row in silent if len(silent) < len(ended) else ():
        row.update(
            status="damaged", reason="checkpoints/run.json, which holds its parameters, is missing"
        )
    # The list may qualify a parameter with another module than the one that defines it.
    own = {_end(name): name for row in rows for name in row["recorded"]}
    both, begun = [], [bool(row["recorded"]) for row in rows]
    for row in rows:
        listed = {own.get(_end(n), n): value for n, value in row.pop("listed").items()}
        if row["seed"] is not None:
            listed = {n: row["seed"] if v == "%seed" else v for n, v in listed.items()}
        both.append((listed, row.pop("recorded")))
    found = _in_recorded_form(both)
    seeds = _seeds(rows, found)
    found = [{name: each[name] for name in each if name not in seeds} for each in found]
    for row, kept in zip(rows, _with_common(rows, found, begun), strict=True):
        # Without any parameter, static weightings differ at least in their weights.
        known = kept or ({"weights": row["task_weights"]} if row["task_weights"] else {})
        row["configuration"] = "\n".join(f"{name} = {value!r}" for name, value in known.items())
        row |= {name: _told(row, name, value) for name, value in kept.items()}
    if not silent or len(silent) < len(ended):
        return []
    return [
        "Its runs were made by an earlier version, which did not record parameters, so the "
        "parameters are taken from study.json. Runs of a method that study.json does not list "
        "count as one configuration."
    ]


def _in_recorded_form(
    both: Sequence[tuple[dict[str, Any], dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Returns the parameters of each run, as far as possible in the form that runs record.

    A run records weights 1 and 3 as 0.25 and 0.75. One that has not begun would count as another
    configuration if its listed values were not written as those that have begun recorded them.

    Args:
        both: The parameters that the study lists, and those that the run recorded.
    """
    forms: dict[tuple[str, str], list[Any]] = {}
    for listed, recorded in both:
        for name in listed.keys() & recorded.keys():
            known = forms.setdefault((name, repr(listed[name])), [])
            if recorded[name] not in known:
                known.append(recorded[name])
    # The values of a macro, such as `%rate`, may differ between the runs.
    form = {key: known[0] for key, known in forms.items() if len(known) == 1}
    return [
        {name: form.get((name, repr(value)), value) for name, value in listed.items()} | recorded
        for listed, recorded in both
    ]


def _with_common(
    rows: list[dict[str, Any]], found: list[dict[str, Any]], begun: Sequence[bool]
) -> Iterator[dict[str, Any]]:
    """Yields the parameters of each run, also those that all runs of its method have in common.

    The study's list has few of the parameters that a run records when it begins; without the others
    a run that has not begun would be a configuration of its own.
    """
    common: dict[str, dict[str, Any]] = {}
    for row, values in itertools.compress(zip(rows, found, strict=True), begun):
        before = common.setdefault(row["method"], values)
        shared = {n: v for n, v in before.items() if n in values and values[n] == v}
        common[row["method"]] = shared
    for row, values, has in zip(rows, found, begun, strict=True):
        more = common.get(row["method"], {}) if values and not has else {}
        yield values | {name: value for name, value in more.items() if name not in values}


def _labels(rows: list[dict[str, Any]], unlisted: Sequence[bool]) -> list[str]:
    """Labels unlisted runs as the listed runs with the same parameters; returns a remark on them.

    Args:
        rows: The runs, with their configurations.
        unlisted: Whether each of them is missing in the study's list; [] if there is no list.
    """
    known: dict[tuple[str, str], str] = {}
    for row, missing in zip(rows, unlisted, strict=False):
        key = row["combiner"], row["configuration"]
        if missing:
            row["method"] = known.get(key, row["method"])
        elif row["configuration"]:
            known.setdefault(key, row["method"])
    if not (number := sum(unlisted)):
        return []
    return [
        f"{number} of {counted(len(rows), 'run')} are not in study.json, so they have no stage. "
        "Those with the parameters of a listed run count for its method, the others for a method "
        "named after their combiner."
    ]


def _told(row: Mapping[str, Any], name: str, value: Any) -> Any:
    """Returns the value of a parameter; for weights recorded as None, the equal weights.

    None would be shown as missing in every table, like a parameter that only other methods have.
    """
    shares = row["task_weights"]
    if value is not None or not shares or not name.endswith(f".{row['combiner']}.weights"):
        return value
    return repr({task: significant(shares[task]) for task in sorted(shares)})


def _end(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _seeds(rows: list[dict[str, Any]], found: list[dict[str, Any]]) -> set[str]:
    """Returns the parameters equal to the seed in every run, which identify no configuration."""
    both = list(zip([row["seed"] for row in rows], found, strict=True))
    several = len({seed for seed, _ in both} - {None}) > 1
    names = dict.fromkeys(name for values in found for name in values) if several else ()
    # A run branches from a run with the same seed.
    return {"experiment.Training.seed", "experiment.Checkpoints.branch_from"} | {
        name
        for name in names
        if all(values[name] in (seed, "%seed") for seed, values in both if name in values)
    }


def _roles(rows: list[dict[str, Any]], baseline: str | None) -> list[str]:
    """Fills in roles that the study does not record; returns the assumptions that were made."""
    ended = [row for row in rows if row["status"] == "finished"]
    silent = [row for row in ended if row["static"] is None]
    recorded = {row["method"]: row["static"] for row in ended if row["static"] is not None}
    for row in rows:
        if row["static"] is None:
            row["static"] = recorded.get(
                row["method"],
                static_weights(row) is not None if baseline is None else row["method"] == baseline,
            )
        if row["role"] is None:
            weights = static_weights(row) or {}
            alone = len(weights) > 1 and max(weights.values()) == 1.0
            row["role"] = "single" if alone else "baseline" if row["static"] else "method"
        if row["method"] == STATIC and row["role"] in ("method", "replay"):
            row["method"] = f"{STATIC} ({row['combiner'] or row['role']})"
    said = []
    if baseline is not None and not recorded.get(baseline, baseline in {r["method"] for r in rows}):
        said = [
            f"study.json names {baseline!r} as the baseline, but no run of that name trained with "
            "static weights. Methods are compared with the runs that did."
        ]
    if not silent:
        return said
    by = (
        f"runs of the method {baseline!r}"
        if baseline
        else "runs with fixed weights in their configuration"
    )
    return [
        *said,
        f"{len(silent)} of {len(ended)} finished runs have no readable manifest.json, or one of "
        "an earlier version, which recorded neither whether weights are static nor the direction "
        f"of metrics. Treated as static weights: {by}.",
    ]


def _complete(table: pd.DataFrame) -> pd.DataFrame:
    """Marks finished runs that lack what is compared in their setting or repeat another one."""
    settings = with_setting(table)["setting"]
    for status, find in (("incomplete", metric_sets.incomplete), ("duplicate", _repeated)):
        groups = table.groupby([table["study"], settings], sort=False)
        reasons = pd.concat([find(runs) for _, runs in groups])
        reasons = reasons[reasons != ""]
        table.loc[reasons.index, "status"] = status
        table.loc[reasons.index, "reason"] = reasons
    return table


def _repeated(runs: pd.DataFrame) -> pd.Series:
    """Returns which run each finished run repeats, as a sentence; "" for the others."""
    names = ["role", "method", "combiner", "configuration", "seed", "lineage"]
    finished = runs[runs["status"] == "finished"].reindex(columns=names)
    first = runs["run"].loc[finished.index].groupby([finished[n] for n in names], dropna=False)
    own = first.transform("first")
    reasons = "same recorded method, parameters and seed as the run " + own + ", which counts"
    return reasons.where(finished.duplicated(), "").reindex(runs.index, fill_value="")


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    metrics = [column for column in table if metric_sets.is_metric(str(column))]
    numbers = [*metrics, *table.columns.intersection(["cpu_seconds", "cpu_spent"])]
    rest = [column for column in table if column not in {*_FIRST, *metrics}]
    return table.astype(dict.fromkeys(numbers, float)).reindex(columns=[*_FIRST, *rest, *metrics])
