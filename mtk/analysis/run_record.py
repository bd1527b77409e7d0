"""What one run folder says, as one row of a table."""

import contextlib
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtk import monitor
from mtk.analysis import gin_text, records
from mtk.analysis.weights import weights_over_time

SPLITS = ("train", "validation", "test")
# Where a sweep says why a run ended without a result.
_FAILURE = "failed.json"


def read(path: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a run. A folder that cannot be read is a row too, which says why.

    Args:
        path: The run folder.
        listed: What the study's list says of the run: `hash`, `method`, `seed`, `bindings`, `role`,
            each optional.

    Returns:
        `run`, `path`, `method`, `role`, `seed`, `status`, `reason`, `steps`, `selected_step`,
        `monitor`, `monitor_direction`, `selected_value` and `first_losses` (by what it was
        selected, if it says so), `data` (what tells its data from others), `configuration` (a text
        equal for runs that differ in the seed only), the configuration by parameter name, and
        `<split>/<task>/<metric>`.
    """
    row: dict[str, Any] = {
        "run": listed.get("hash", path.name),
        "path": str(path),
        "method": listed.get("method"),
        "role": listed.get("role"),
        "seed": listed.get("seed"),
        "status": "finished",
        "reason": "",
    }
    config = gin_text.from_bindings(listed.get("bindings") or {})
    try:
        row |= _contents(path)
        config |= _configuration(path / "operative_config.gin")
        if row["seed"] is None:
            row["seed"] = gin_text.seed(records.text(path / "operative_config.gin"))
    except _EndedError as ended:
        row.update(status=ended.status, reason=str(ended))
    except (records.DamagedError, OSError) as problem:
        row.update(status="damaged", reason=str(problem))
    combiner = str(config.get("experiment.run.combiner", "")).rpartition(".")[2]
    row["combiner"] = combiner
    row["method"] = row["method"] or combiner or "unknown"
    row["configuration"] = "\n".join(f"{name} = {value!r}" for name, value in config.items())
    return {**row, **config}


class _EndedError(Exception):
    """A run that left no result."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


def _contents(path: Path) -> dict[str, Any]:
    """Returns what the files of a run say, but for its configuration."""
    _check_ended(path)
    result = records.json_object(path / "result.json")
    _check_belongs(path, result)
    found = _outcome(result)
    with contextlib.suppress(
        records.DamagedError
    ):  # Without a manifest a run lacks its speed only.
        found |= _manifest(path / "manifest.json")
    with contextlib.suppress(FileNotFoundError):  # Without a log a result is whole.
        weights_over_time(path)
    return found


def _manifest(path: Path) -> dict[str, Any]:
    manifest = records.json_object(path)
    return {**_speed(manifest), **_extras(manifest, path.name)}


def _check_belongs(path: Path, result: dict[str, Any]) -> None:
    """Checks that the files are those of the run that `run.json` describes, where there is one."""
    about_path = path / "checkpoints" / "run.json"
    if not about_path.exists():
        return
    about = records.json_object(about_path)
    own = records.entry(about, "hash", str, about_path.name)
    if own is not None and result.get("run") != own:
        raise records.DamagedError(f"result.json is of the run {result.get('run')!r:.60}")
    hashes = records.entry(about, "files", dict, about_path.name) or {}
    name = "operative_config.gin"
    # Where it is missing, that is said elsewhere.
    if hashes.get(name) and (path / name).is_file() and _hash(path / name) != hashes[name]:
        raise records.DamagedError(f"{name} was changed since the run wrote it")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _configuration(path: Path) -> dict[str, Any]:
    found = gin_text.parse(records.text(path))
    if not found:
        raise records.DamagedError(f"{path.name} has no bindings")
    return found


def _check_ended(path: Path) -> None:
    if not path.is_dir():
        raise _EndedError("missing", "there is no such run folder")
    if (path / "result.json").exists():
        return
    if (path / _FAILURE).exists():
        reason = records.entry(records.json_object(path / _FAILURE), "reason", str, _FAILURE)
        raise _EndedError("failed", " ".join((reason or "the reason is lost").split()))
    raise _EndedError("unfinished", "there is no result.json yet")


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what a result says, as a part of the row."""
    status = result.get("status")
    if status not in ("finished", "diverged"):
        raise records.DamagedError(f"result.json has the status {status!r}")
    found = {**_extras(result, "result.json"), **_monitor(result), **_data(result)}
    for name in ("steps", "selected_step"):
        found[name] = records.entry(result, name, int, "result.json")
    if status == "diverged":
        where = f"task {result['task']!r}" if result.get("task") else "the gradient"
        found.update(status=status, reason=f"no number at step {result.get('steps')}: {where}")
    for split in SPLITS:
        found.update(_metrics(split, records.entry(result, split, dict, "result.json")))
    return found


def _monitor(result: dict[str, Any]) -> dict[str, Any]:
    """Returns by what the run was selected; nothing if it is of an earlier version."""
    where = "result.json"
    said = records.entry(result, "monitor", dict, where)
    if said is None:
        return {}
    name, direction = (records.entry(said, key, str, where) for key in ("name", "direction"))
    if name is None or direction not in monitor.DIRECTIONS:
        raise records.DamagedError(f"{where}: the monitor is {said!r:.60}")
    first = records.entry(said, "first", dict, where)
    if first is not None:
        first = {task: records.entry(first, task, float, where) for task in first}
    return {
        "monitor": name,
        "monitor_direction": direction,
        "selected_value": records.entry(said, "value", float, where),
        "first_losses": first,
    }


def _data(result: dict[str, Any]) -> dict[str, str]:
    """Returns the fingerprint of the run's data in a line; nothing if it is not known."""
    told = records.entry(result, "data", dict, "result.json") or {}
    parts = [f"{name}: {records.entry(told, name, str, 'result.json, data')}" for name in told]
    return {"data": "; ".join(parts)} if parts else {}


def _speed(manifest: dict[str, Any]) -> dict[str, float]:
    """Returns the steps per second of the longest session that tells them."""
    speeds = [(0.0, 0.0)]
    where = "manifest.json"
    for session in records.entry(manifest, "sessions", list, where) or []:
        told = records.entry({"session": session}, "session", dict, where) or {}
        told = records.entry(told, "throughput", dict, where) or {}
        steps, speed = (
            records.entry(told, name, float, where) or 0.0 for name in ("steps", "steps_per_second")
        )
        speeds.append((steps, speed))
    speed = max(speeds)[1]
    return {"steps_per_second": speed} if speed else {}


def _extras(content: dict[str, Any], where: str) -> dict[str, Any]:
    names = ("steps_per_second", "parameters", "train_examples", "test_examples")
    found = {name: records.entry(content, name, float, where) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _metrics(split: str, found: dict[str, Any] | None) -> dict[str, float | None]:
    """Returns the metrics of a split; what is no finite number is as good as absent."""
    if found is None:
        return {}
    where = f"result.json, {split}"
    tasks = records.entry(found, "tasks", dict, where)
    if tasks is None:
        raise records.DamagedError(f"{where}: there are no metrics by task")
    return {
        f"{split}/{task}/{name}": _metric(own, name, f"{where}, task {task!r}")
        for task in tasks
        for own in [records.entry(tasks, task, dict, where) or {}]
        for name in own
    }


def _metric(own: dict[str, Any], name: str, where: str) -> float | None:
    if isinstance(own[name], float) and not math.isfinite(own[name]):
        return None
    value: float | None = records.entry(own, name, float, where)
    return value
