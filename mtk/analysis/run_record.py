"""Reads one run folder into one row of a table."""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtk import monitor, records
from mtk.analysis import parameters, plain_text, schema
from mtk.analysis.schema import EXTRAS, SPLITS
from mtk.analysis.weights import LOG, weights_over_time

# In this file, a sweep records why a run ended without a result.
_FAILURE = "failed.json"
_NOTHING_SAID: dict[str, Any] = dict.fromkeys(
    ("method", "role", "stage", "seed", "static", "task_weights", "directions", "combiner")
)
_NOTHING_SAID |= {"status": "finished", "reason": "", "recorded": {}, "listed": {}}


class _EndedError(Exception):
    """Raised for a run that ended without a result."""

    def __init__(self, status: str, reason: str, known: Mapping[str, Any] | None = None):
        super().__init__(reason)
        self.status, self.known = status, known or {}


def read(path: Path, listed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the row of a run. A folder that cannot be read has a row too, with the reason.

    Args:
        path: The run folder.
        listed: The entries of the study's list for the run: `hash`, `method`, `seed`, `bindings`,
            `role`, each optional.

    Returns:
        The columns of `load`, None for values that the run did not record; without `configuration`,
        but with the parameters as `recorded` by the run and as `listed` by the study.
    """
    row: dict[str, Any] = {"run": plain_text.name(path.name), **_NOTHING_SAID}
    row["path"] = os.fsencode(path).decode("utf-8", "backslashreplace")  # Tables are UTF-8.
    try:
        said = schema.check(listed, schema.LISTED, "study.json, this run")
        row["listed"] = parameters.listed(said.pop("bindings") or {})
        row |= {name: value for name, value in said.items() if value is not None}
        about = _begun(path)
        row["recorded"] = parameters.recorded(about["settings"] or {})
        _check_ended(path)
        result = checked(path / "result.json", schema.RESULT)
        _check_belongs(path, result, about)
        found = {**_outcome(result), **_manifest(path), **_lineage(path)}
        row |= {name: value for name, value in found.items() if value is not None or "/" in name}
        with contextlib.suppress(FileNotFoundError):  # A result without a log is complete.
            weights_over_time(path)
            if result["record"] and result["record"] != records.digest(path / LOG):
                raise records.DamagedError(f"{LOG} was changed after the run ended")
    except _EndedError as ended:
        row.update(status=ended.status, reason=str(ended), **ended.known)
    except (records.DamagedError, OSError) as problem:
        row.update(status="damaged", reason=plain_text.sentence(str(problem)))
    seed = row["recorded"].get("experiment.Training.seed")
    if row["seed"] is None and type(seed) is int:
        row["seed"] = seed
    bound = str(row["recorded"].get("experiment.run.combiner", "")).rpartition(".")[2]
    row["combiner"] = row["combiner"] or plain_text.name(bound)
    row["method"] = row["method"] or row["combiner"] or "unknown"
    return row


def _begun(path: Path) -> dict[str, Any]:
    """Returns what a run recorded when it began; nothing for runs of earlier versions."""
    file = path / "checkpoints" / "run.json"
    if path.is_symlink() or not os.path.lexists(file):
        return dict.fromkeys(schema.RUN)
    return checked(file, schema.RUN)


def checked(path: Path, expected: schema.Schema) -> dict[str, Any]:
    """Returns the content of a JSON file that has the expected form, or raises a DamagedError."""
    found: dict[str, Any] = schema.check(records.json_object(path), expected, path.name)
    return found


def _check_belongs(path: Path, result: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Checks that the files belong to the run that `run.json` describes, if that file exists."""
    if about["hash"] is not None and result["run"] != about["hash"]:
        raise records.DamagedError(f"result.json belongs to the run {result['run']!r:.60}")
    name = "operative_config.gin"
    known = (about["files"] or {}).get(name)
    if known and (path / name).is_file():
        text = records.text(path / name).encode()
        if hashlib.sha256(text).hexdigest()[:16] != known:
            raise records.DamagedError(f"{name} was changed after the run wrote it")


def _check_ended(path: Path) -> None:
    if path.is_symlink():
        raise records.DamagedError(
            "the run folder is a symbolic link; replace it by the folder itself"
        )
    if not path.is_dir():
        raise _EndedError(
            "pending", "the run has no folder: it has not started, or the folder was removed"
        )
    if os.path.lexists(path / "result.json"):
        return
    if os.path.lexists(path / _FAILURE):
        reason = checked(path / _FAILURE, schema.FAILED)["reason"]
        raise _EndedError("failed", reason or "the reason was not recorded")
    if (path / "rungs").is_dir():
        said = "the run stopped at a rung of a search and can be continued"
        raise _EndedError("paused", said, {**_pause(path / "rungs"), **_lineage(path)})
    raise _EndedError("unfinished", "the run has no result.json yet")


def _pause(rungs: Path) -> dict[str, int]:
    """Returns the step at which a run last paused, if it has recorded one."""
    known = []
    for file in rungs.glob("*.json"):
        with contextlib.suppress(records.DamagedError, OSError):
            known.append(checked(file, schema.PAUSED)["steps"])
    found = [steps for steps in known if steps is not None]
    return {"steps": max(found)} if found else {}


def _outcome(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of the row that a result provides; values that are not finite are None."""
    if result["status"] is None:
        raise records.DamagedError("result.json has no status")
    found = {name: result[name] for name in (*EXTRAS, "steps", "selected_step", "sealed")}
    if said := result["monitor"]:
        if said["name"] is None or said["direction"] is None:
            raise records.DamagedError("result.json: the monitor has no name or no direction")
        found |= {"monitor": said["name"], "monitor_direction": said["direction"]}
        found |= {"selected_value": said["value"]}
        if said["terms"] or said["first"]:
            found |= _terms(result)
    if told := result["data"]:
        found["data"] = "; ".join(f"{name}: {told[name]}" for name in told)
    if result["status"] == "diverged":
        where = f"task {result['task']!r}" if result["task"] else "the gradient"
        found |= {"status": "diverged", "reason": f"NaN at step {result['steps']}: {where}"}
    for split in (name for name in SPLITS if result[name] is not None):
        if (tasks := result[split]["tasks"]) is None:
            raise records.DamagedError(f"result.json, {split}: metrics by task are missing")
        for task, own in tasks.items():
            found |= {f"{split}/{task}/{name}": value for name, value in own.items()}
    return found


def _terms(result: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics that selected a run, and the values that they are relative to."""
    try:
        selected = monitor.selected(result)
    except ValueError as error:
        raise records.DamagedError(str(error)) from error
    return {"selected_terms": selected.terms, "first_values": selected.first}


def _manifest(path: Path) -> dict[str, Any]:
    """Returns speed, sizes and method; nothing if the file is damaged, since the run is valid."""
    try:
        manifest = checked(path / "manifest.json", schema.MANIFEST)
    except records.DamagedError:
        return {}
    told = [each["throughput"] for each in manifest["sessions"] or []]
    # The longest session that recorded its speed.
    speeds = [(each["steps"] or 0.0, each["steps_per_second"] or 0.0) for each in told if each]
    found = {name: manifest[name] for name in EXTRAS}
    if speed := max(speeds, default=(0.0, 0.0))[1]:
        found["steps_per_second"] = speed
    found |= {"seed": manifest["seed"]}
    known = {name: value for name, value in found.items() if value is not None}
    return known | {k: v for k, v in (manifest["method"] or {}).items() if v is not None}


def _lineage(path: Path) -> dict[str, Any]:
    """Returns the runs from which a run branched, the changes there, and its own first step."""
    if not os.path.lexists(path / "lineage.json"):
        return {}
    parts, runs = [], checked(path / "lineage.json", schema.LINEAGE)["runs"] or []
    for part in runs:
        changed = (part["changed"] or {}).items()
        said = ", ".join(f"{name.rpartition('.')[2]} {values['to']}" for name, values in changed)
        own = f"{part['run']} from step {part['first_step']}"
        parts.append(f"{own}: {said}" if said else own)
    first_step = runs[-1]["first_step"] if runs else None
    return {"lineage": "; ".join(parts), "first_step": first_step}
