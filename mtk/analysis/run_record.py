"""What one run folder says, as one row of a table."""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtk.analysis import gin_text, plain_text, records, schema
from mtk.analysis.schema import SPLITS
from mtk.analysis.weights import weights_over_time

# Where a sweep says why a run ended without a result.
_FAILURE = "failed.json"
_NOTHING_SAID: dict[str, Any] = dict.fromkeys(
    ("method", "role", "stage", "seed", "static", "task_weights", "directions")
)
_NOTHING_SAID |= {"status": "finished", "reason": ""}


def read(path: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a run. A folder that cannot be read is a row too, which says why.

    Args:
        path: The run folder.
        listed: What the study's list says of the run: `hash`, `method`, `seed`, `bindings`, `role`,
            each optional.

    Returns:
        `run`, `path`, `method`, `role`, `stage`, `seed`, `status`, `reason`, `steps`,
        `selected_step`, `static`, `task_weights` and `directions` (None in earlier versions),
        `monitor`, `monitor_direction`, `selected_value` and `first_losses` (by what it was
        selected, if it says so), `data` (what tells its data from others), `configuration` (a text
        equal for runs that differ in the seed only), the configuration by parameter name, and
        `<split>/<task>/<metric>`.
    """
    row: dict[str, Any] = {"run": plain_text.name(path.name), "path": str(path), **_NOTHING_SAID}
    config: dict[str, Any] = {}
    try:
        said = schema.check(listed, schema.LISTED, "study.json, this run")
        config = gin_text.from_bindings(said.pop("bindings") or {})
        row |= said
        row |= _contents(path)
        config |= _configuration(path / "operative_config.gin")
        if row["seed"] is None:
            row["seed"] = gin_text.seed(records.text(path / "operative_config.gin"))
    except _EndedError as ended:
        row.update(status=ended.status, reason=str(ended))
    except (records.DamagedError, OSError) as problem:
        row.update(status="damaged", reason=plain_text.sentence(str(problem)))
    combiner = str(config.get("experiment.run.combiner", "")).rpartition(".")[2]
    row["combiner"] = row.get("combiner") or plain_text.name(combiner)
    row["method"] = row["method"] or row["combiner"] or "unknown"
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
    result = _checked(path / "result.json", schema.RESULT)
    _check_belongs(path, result)
    found = _outcome(result)
    with contextlib.suppress(records.DamagedError):  # The run itself is sound.
        manifest = _checked(path / "manifest.json", schema.MANIFEST)
        found |= {**_speed(manifest), **_extras(manifest), **_method(manifest["method"] or {})}
    with contextlib.suppress(FileNotFoundError):  # Without a log a result is whole.
        weights_over_time(path)
    return found


def _checked(path: Path, expected: schema.Schema) -> dict[str, Any]:
    found: dict[str, Any] = schema.check(records.json_object(path), expected, path.name)
    return found


def _check_belongs(path: Path, result: dict[str, Any]) -> None:
    """Checks that the files are those of the run that `run.json` describes, where there is one."""
    about_path = path / "checkpoints" / "run.json"
    if not about_path.exists():
        return
    about = _checked(about_path, schema.RUN)
    if about["hash"] is not None and result["run"] != about["hash"]:
        raise records.DamagedError(f"result.json is of the run {result['run']!r:.60}")
    name = "operative_config.gin"
    known = (about["files"] or {}).get(name)
    # Where it is missing, that is said elsewhere.
    if known and (path / name).is_file() and _hash(path / name) != known:
        raise records.DamagedError(f"{name} was changed since the run wrote it")


def _hash(path: Path) -> str:
    return hashlib.sha256(records.text(path).encode()).hexdigest()[:16]


def _configuration(path: Path) -> dict[str, Any]:
    found = gin_text.parse(records.text(path))
    if not found:
        raise records.DamagedError(f"{path.name} has no bindings")
    return found


def _check_ended(path: Path) -> None:
    if path.is_symlink():
        raise records.DamagedError("the run folder is a link; put the folder itself there")
    if not path.is_dir():
        raise _EndedError("missing", "there is no such run folder")
    if os.path.lexists(path / "result.json"):
        return
    if os.path.lexists(path / _FAILURE):
        reason = _checked(path / _FAILURE, schema.FAILED)["reason"]
        raise _EndedError("failed", reason or "the reason is lost")
    raise _EndedError("unfinished", "there is no result.json yet")


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    """Returns what a result says, as a part of the row."""
    if result["status"] is None:
        raise records.DamagedError("result.json has no status")
    found = {**_extras(result), **_monitor(result["monitor"]), **_data(result["data"])}
    found |= {name: result[name] for name in ("steps", "selected_step")}
    if result["status"] == "diverged":
        where = f"task {result['task']!r}" if result["task"] else "the gradient"
        reason = f"no number at step {result['steps']}: {where}"
        found.update(status="diverged", reason=reason)
    for split in SPLITS:
        found |= _metrics(split, result[split])
    return found


def _monitor(said: dict[str, Any] | None) -> dict[str, Any]:
    """Returns by what the run was selected; nothing if it is of an earlier version."""
    if said is None:
        return {}
    if said["name"] is None or said["direction"] is None:
        raise records.DamagedError("result.json: the monitor has no name or no direction")
    return {
        "monitor": said["name"],
        "monitor_direction": said["direction"],
        "selected_value": said["value"],
        "first_losses": said["first"],
    }


def _method(said: dict[str, Any]) -> dict[str, Any]:
    """Returns what the run recorded of its method; nothing if it is of an earlier version."""
    return {name: value for name, value in said.items() if value is not None}


def _data(told: dict[str, str] | None) -> dict[str, str]:
    """Returns the fingerprint of the run's data in a line; nothing if it is not known."""
    return {"data": "; ".join(f"{name}: {told[name]}" for name in told)} if told else {}


def _speed(manifest: dict[str, Any]) -> dict[str, float]:
    """Returns the steps per second of the longest session that tells them."""
    told = [each["throughput"] for each in manifest["sessions"] or [] if each]
    speeds = [(each["steps"] or 0.0, each["steps_per_second"] or 0.0) for each in told if each]
    speed = max(speeds, default=(0.0, 0.0))[1]
    return {"steps_per_second": speed} if speed else {}


def _extras(content: dict[str, Any]) -> dict[str, Any]:
    names = ("steps_per_second", "parameters", "train_examples", "test_examples")
    return {name: content[name] for name in names if content[name] is not None}


def _metrics(split: str, found: dict[str, Any] | None) -> dict[str, float | None]:
    """Returns the metrics of a split; what is no finite number is as good as absent."""
    if found is None:
        return {}
    if found["tasks"] is None:
        raise records.DamagedError(f"result.json, {split}: there are no metrics by task")
    return {
        f"{split}/{task}/{name}": value
        for task, own in found["tasks"].items()
        for name, value in (own or {}).items()
    }
