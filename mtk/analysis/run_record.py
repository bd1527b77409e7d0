"""What one run folder says, as one row of a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtk.analysis import gin_text

SPLITS = ("train", "validation", "test")
# Where a sweep says why a run ended without a result.
_FAILURES = ("failed.json", "error.txt")


def read(path: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a run. A folder that cannot be read is a row too, which says why.

    Args:
        path: The run folder.
        listed: What the study's list says of the run: `hash`, `method`, `seed`, `bindings`, `role`,
            each optional.

    Returns:
        `run`, `path`, `method`, `role`, `seed`, `status`, `reason`, `steps`, `selected_step`,
        `configuration` (a text equal for runs that differ in the seed only), the configuration
        by parameter name, and `<split>/<task>/<metric>`.
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
    bindings = listed.get("bindings") or {}
    try:
        config = _configuration(path, gin_text.from_bindings(bindings), row)
        _outcome(path, row)
    except _UnreadableError as problem:
        config = gin_text.from_bindings(bindings)
        row.update(status=problem.status, reason=str(problem))
    combiner = str(config.get("experiment.run.combiner", "")).rpartition(".")[2]
    row["combiner"] = combiner
    row["method"] = row["method"] or combiner or "unknown"
    row["configuration"] = "\n".join(f"{name} = {value!r}" for name, value in config.items())
    return {**row, **config}


class _UnreadableError(Exception):
    """A folder without a whole result."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status = status


def _configuration(path: Path, asked: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    if not path.is_dir():
        raise _UnreadableError("missing", "there is no such run folder")
    try:
        text = (path / "operative_config.gin").read_text(encoding="utf-8")
        manifest = _json(path / "manifest.json")
    except FileNotFoundError as error:
        if not (path / "result.json").exists():
            raise _unfinished(path) from None
        raise _UnreadableError("damaged", f"{Path(error.filename).name} is missing") from None
    if row["seed"] is None:
        row["seed"] = manifest.get("seed")
    row.update(_speed(manifest), **_extras(manifest))
    return {**gin_text.from_bindings(asked), **gin_text.parse(text)}


def _unfinished(path: Path) -> _UnreadableError:
    for name in _FAILURES:
        if (path / name).exists():
            text = (path / name).read_text(encoding="utf-8", errors="replace").strip()
            return _UnreadableError("failed", text.splitlines()[-1] if text else f"see {name}")
    return _UnreadableError("unfinished", "there is no result.json yet")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, IsADirectoryError) as error:
        raise _UnreadableError("damaged", f"{path.name} is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise _UnreadableError("damaged", f"{path.name} holds no JSON object")
    return content


def _outcome(path: Path, row: dict[str, Any]) -> None:
    """Adds the result to the row."""
    if not (path / "result.json").exists():
        raise _unfinished(path)
    result = _json(path / "result.json")
    status = result.get("status")
    if status not in ("finished", "diverged"):
        raise _UnreadableError("damaged", f"result.json has the status {status!r}")
    row.update(_extras(result))
    row.update(steps=result.get("steps"), selected_step=result.get("selected_step"))
    if status == "diverged":
        where = f"task {result['task']!r}" if result.get("task") else "the gradient"
        row.update(status=status, reason=f"no number at step {result.get('steps')}: {where}")
    for split in SPLITS:
        row.update(_metrics(split, result.get(split)))


def _speed(manifest: dict[str, Any]) -> dict[str, float]:
    """Returns the steps per second of the longest session that tells them."""
    speeds = [(0, 0.0)]
    for session in manifest.get("sessions") or []:
        told = session.get("throughput") or {}
        speeds.append((told.get("steps") or 0, told.get("steps_per_second") or 0.0))
    speed = max(speeds)[1]
    return {"steps_per_second": speed} if speed else {}


def _extras(content: dict[str, Any]) -> dict[str, Any]:
    names = ("steps_per_second", "parameters", "train_examples", "test_examples")
    return {name: content[name] for name in names if isinstance(content.get(name), (int, float))}


def _metrics(split: str, found: Any) -> dict[str, float | None]:
    if found is None:
        return {}
    tasks = found.get("tasks") if isinstance(found, dict) else None
    if not isinstance(tasks, dict) or not all(isinstance(task, dict) for task in tasks.values()):
        raise _UnreadableError("damaged", f"result.json has no metrics by task for {split}")
    values = {f"{split}/{task}/{name}": v for task, own in tasks.items() for name, v in own.items()}
    bad = [name for name, v in values.items() if not isinstance(v, (int, float, type(None)))]
    if bad:
        raise _UnreadableError("damaged", f"result.json: {bad[0]} is no number")
    return values
