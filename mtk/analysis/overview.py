"""Runs and studies of a folder at a glance."""

from collections import Counter
from pathlib import Path
from typing import Any

from mtk.analysis import gin_text, plain_text, records, schema

_METHOD, _WEIGHTS = "experiment.run.combiner", "StaticWeights.weights"


def runs(place: Path) -> tuple[list[str], list[list[str]]]:
    """Returns the heads and rows of a table of runs.

    Args:
        place: A folder that holds run folders, or a study.
    """
    inner = place / "runs" if (place / "study.json").is_file() else place
    folders = [path for path in sorted(inner.iterdir()) if _is_run(path)]
    heads = ["run", "state", "method", "weights", "steps", "selected by", "test"]
    return heads, [_run(path) for path in folders]


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("config.gin", "result.json", "manifest.json"))


def _run(path: Path) -> list[str]:
    name = plain_text.name(path.name)
    try:
        config = gin_text.parse(records.text(path / "operative_config.gin"))
    except (records.DamagedError, OSError):
        config = {}
    method = str(config.get(_METHOD, "?")).rpartition(".")[2]
    weights = next((str(v) for key, v in config.items() if key.endswith(_WEIGHTS)), "")
    about = [name, "unfinished", method, weights if method == "StaticWeights" else ""]
    if not (path / "result.json").exists():
        return [*about, "", "", ""]
    try:
        result = schema.check(
            records.json_object(path / "result.json"), schema.RESULT, "result.json"
        )
    except (records.DamagedError, OSError) as error:
        return [name, "damaged", *about[2:], "", "", plain_text.name(str(error))]
    about[1] = result["status"] or "damaged"
    monitor = result["monitor"] or {}
    by = f"{monitor['name']} {_number(monitor['value'])}" if monitor else ""
    steps = f"{result['selected_step']} of {result['steps']}" if monitor else f"{result['steps']}"
    return [*about, steps, by, _metrics(result["test"])]


def _metrics(split: dict[str, Any] | None) -> str:
    tasks = (split or {}).get("tasks") or {}
    return ", ".join(
        f"{task}_{metric} {_number(value)}"
        for task, found in tasks.items()
        for metric, value in (found or {}).items()
    )


def _number(value: float | None) -> str:
    return "NaN" if value is None else f"{value:.4g}"


def studies(place: Path) -> tuple[list[str], list[list[str]]]:
    """Returns the heads and rows of a table of studies.

    Args:
        place: A folder that holds study folders, or a study.
    """
    folders = [place] if (place / "study.json").is_file() else sorted(place.iterdir())
    rows = [_study(path) for path in folders if (path / "study.json").is_file()]
    return ["study", "runs", "states", "methods"], rows


def _study(path: Path) -> list[str]:
    try:
        content = records.json_object(path / "study.json")
        schema.check(content, schema.STUDY, "study.json")
    except (records.DamagedError, OSError) as error:
        return [plain_text.name(path.name), "", plain_text.name(str(error)), ""]
    runs = content.get("runs") or []
    states = Counter(_run(path / "runs" / run["hash"])[1] for run in runs)
    methods = dict.fromkeys(plain_text.name(str(run.get("method"))) for run in runs)
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    return [plain_text.name(path.name), str(len(runs)), counts, ", ".join(methods)]
