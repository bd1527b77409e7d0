"""The folder of a study, the only place where its state is kept."""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from mtk import atomic, locks, monitor, places, records, resources
from mtk.errors import StudyError
from mtk.study.grid import Run
from mtk.study.lease import Lease, is_taken
from mtk.study.run_log import FULL, RunLog
from mtk.study.spec import Study

_LEAST_ROOM = 1 << 18  # bytes of free space that any run needs


class State(Enum):
    """State of a run."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"
    DAMAGED = "damaged"


class StudyFolder:
    """Paths of a study folder, and the state of each run that its files record.

    `study.json` lists the runs. Each run has, by its hash, `configs/<hash>.gin` (its
    configuration), `runs/<hash>/` (its run folder), `logs/<hash>.log` (its output),
    `leases/<hash>` (the process that is doing it) and, if it must not run to its end yet,
    `pauses/<hash>` (the step at which it pauses). `run_log.jsonl` has a line per stop of a run.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.list = self.path / "study.json"
        self.run_log = RunLog(self.path / "run_log.jsonl")

    def config(self, run: str) -> Path:
        return self.path / "configs" / f"{run}.gin"

    def run_dir(self, run: str) -> Path:
        return self.path / "runs" / run

    def log(self, run: str) -> Path:
        return self.path / "logs" / f"{run}.log"

    def lease(self, run: str) -> Lease:
        return Lease(self._lease(run))

    def state(self, run: str) -> State:
        """Returns the state of a run."""
        folder = self.run_dir(run)
        if (folder / "result.json").exists():
            if self.losses(run):
                return State.FINISHED
            diverged = self._result(run).get("status") == "diverged"
            return State.DIVERGED if diverged else State.DAMAGED
        if (folder / "failed.json").exists():
            return State.FAILED
        pause = self.pause_at(run)
        if pause is not None and self.rung(run, pause):
            return State.PAUSED
        return State.RUNNING if is_taken(self._lease(run)) else State.PENDING

    def pause_at(self, run: str) -> int | None:
        """Returns the step at which a run must pause; None if it continues to its end."""
        step = _read(self.path / "pauses" / run).get("step")
        return step if isinstance(step, int) else None

    def set_pause(self, run: str, step: int | None) -> None:
        """Sets the step at which a run pauses, or None; never earlier than the current one.

        Several searches may work on one folder, and one may lag behind the others.
        """
        path = self.path / "pauses" / run
        path.parent.mkdir(exist_ok=True)
        with self.alone():
            before = self.pause_at(run)
            if path.exists() and (before is None or (step is not None and step <= before)):
                return
            atomic.write_json(path, {"step": step})

    def rung(self, run: str, step: int) -> dict[str, float]:
        """Returns the validation loss of each task where a run paused, NaN if it is not finite.

        Empty if it has not paused there, or the record is damaged or belongs to another run.
        """
        found = self.paused(run, step)
        try:
            losses = {task: own["loss"] for task, own in found["validation"]["tasks"].items()}
            return {t: float("nan") if v is None else float(v) for t, v in losses.items()}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return {}

    def paused(self, run: str, step: int) -> dict[str, Any]:
        """Returns the record of a run at a pause; empty if it has not paused at this step."""
        return self._own(run, _read(self.run_dir(run) / "rungs" / f"{step}.json"))

    def forget_pause(self, run: str, step: int) -> None:
        """Removes the checkpoint of a pause, from which no run will branch any more."""
        shutil.rmtree(self.run_dir(run) / "rungs" / str(step), ignore_errors=True)

    def losses(self, run: str) -> list[float]:
        """Returns the selected validation loss of each task, NaN if it is not finite.

        Empty if the run has not finished, or its result is damaged.
        """
        result = self._result(run)
        try:
            found = [metrics["loss"] for metrics in result["validation"]["tasks"].values()]
            losses = [float("nan") if loss is None else float(loss) for loss in found]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return []
        return losses if result.get("status") == "finished" else []

    def selected(self, run: str, step: int | None = None) -> monitor.Selected | None:
        """Returns the value that selected a run; None if it is unfinished or the value is NaN.

        Runs of earlier versions were selected by the mean of their losses.

        Args:
            run: The run.
            step: The pause whose value is returned; a run that has not paused has only its result.
        """
        if step is not None and self.rung(run, step):
            content = self.paused(run, step)
        elif self.losses(run):
            content = self._result(run)
        else:
            return None
        try:
            found = monitor.selected(content)
        except ValueError:
            return None
        if not math.isfinite(found.value):
            return None
        weights = (about := self.method(run)).get("task_weights") or {}
        trained = tuple(task for task, weight in weights.items() if weight)
        partly = about.get("static") and len(trained) < len(weights)
        return found._replace(trained=trained) if partly else found

    def method(self, run: str) -> dict[str, Any]:
        """Returns what a run recorded about its method; empty for a run of an earlier version."""
        found = _read(self.run_dir(run) / "manifest.json").get("method")
        return found if isinstance(found, dict) else {}

    def reason(self, run: str) -> str:
        """Returns why a run has failed, or what is wrong with its folder."""
        if self.state(run) is State.DAMAGED:
            return (
                "result.json is damaged or belongs to another run; remove only this file, and "
                "run the same command again to repeat the end of the run"
            )
        return str(
            _read(self.run_dir(run) / "failed.json").get("reason", "the reason was not recorded")
        )

    def add(self, study: Study, runs: Sequence[Run], remarks: Sequence[str] = ()) -> None:
        """Writes what is needed to do the runs, and adds them to the list of runs.

        Args:
            study: The study.
            runs: Some of its runs.
            remarks: Remarks on the runs for readers of the study.

        Raises:
            StudyError: If the folder belongs to another study, or is damaged.
        """
        for folder in ("configs", "runs", "logs", "leases"):
            if (self.path / folder).exists() and not (self.path / folder).is_dir():
                raise StudyError(f"{str(self.path / folder)!r} is not a folder. Move it away.")
            (self.path / folder).mkdir(parents=True, exist_ok=True)
        for run in runs:
            if self.log(run.hash).exists() and not self.log(run.hash).is_file():
                raise StudyError(f"{str(self.log(run.hash))!r} is not a file. Move it away.")
            self._write_config(run)
        wanted = json.loads(json.dumps(self._content(study, runs, remarks)))
        if self.list.is_file() and _read(self.list) == wanted:
            return  # A completed study can be shown even if the folder is read-only.
        with self.alone():
            atomic.write_json(self.list, self._content(study, runs, remarks))

    def _content(self, study: Study, runs: Sequence[Run], remarks: Sequence[str]) -> dict[str, Any]:
        """Returns the content of the list with the runs added."""
        entries = {entry["hash"]: entry for entry in self.listed(study)}
        # A run of the grid that equals a replay remains a run of the grid.
        more = [run for run in runs if not (run.role and run.hash in entries)]
        entries |= {run.hash: run.entry for run in more}
        about = {"name": study.name, "baseline": study.baseline, "remarks": [*remarks]}
        return {**about, "runs": list(entries.values())}

    @property
    def name(self) -> str:
        """The name of the study in the folder; "" if there is none, or its list is damaged."""
        return str(_read(self.list).get("name", "")) if self.list.is_file() else ""

    def listed(self, study: Study) -> list[dict[str, Any]]:
        """Returns the runs that the folder lists.

        Raises:
            StudyError: If the folder belongs to another study, or is damaged.
        """
        places.check_kind(self.path, "a study", "a search")
        inside = [*self.path.glob("*"), *self.path.glob("*/*")]
        places.check_no_links(path for path in inside if not path.is_dir())
        if not self.list.exists():
            return []
        if self.list.is_dir():
            raise StudyError(
                f"{str(self.list)!r} is a folder, not a file. Give another study folder."
            )
        content = _read(self.list)
        entries = content.get("runs")
        if not isinstance(entries, list) or not all(_is_entry(entry) for entry in entries):
            raise StudyError(
                f"{str(self.list)!r} is damaged. Remove it; the sweep writes it again without "
                "repeating finished runs."
            )
        if content.get("name") != study.name:
            raise StudyError(
                f"{str(self.path)!r} contains the study {content.get('name')!r}, not "
                f"{study.name!r}. Give another folder."
            )
        return entries

    def fail(self, run: str, reason: str) -> None:
        """Records that a run has failed, and why; it is retried only on request."""
        self.run_dir(run).mkdir(parents=True, exist_ok=True)
        content = {"reason": reason, "log": str(self.log(run).relative_to(self.path))}
        atomic.write_json(self.run_dir(run) / "failed.json", content)

    def lacks_room(self, run: str) -> bool:
        """Returns whether a full disk has stopped a run, or would stop any run now."""
        try:
            with tempfile.TemporaryFile(dir=self.path / "leases") as file:
                file.write(bytes(_LEAST_ROOM))
        except OSError as error:
            return resources.is_full(error)
        return self.run_log.last(run) == FULL

    def reset_failed(self, run: str) -> None:
        """Makes a failed run pending again."""
        failure = self.run_dir(run) / "failed.json"
        if failure.exists():
            failure.unlink(missing_ok=True)

    def newest_checkpoint(self, run: str) -> str:
        """Returns the name of a run's newest checkpoint; empty if there is none."""
        return max((path.name for path in self.run_dir(run).glob("checkpoints/0*")), default="")

    def _result(self, run: str) -> dict[str, Any]:
        """Returns the result of a run; empty if it is damaged or belongs to another run."""
        return self._own(run, _read(self.run_dir(run) / "result.json"))

    def _own(self, run: str, said: dict[str, Any]) -> dict[str, Any]:
        about = _read(self.run_dir(run) / "checkpoints" / "run.json")
        return said if said.get("run") == about.get("hash", said.get("run")) else {}

    def _lease(self, run: str) -> Path:
        return self.path / "leases" / run

    def _write_config(self, run: Run) -> None:
        path = self.config(run.hash)
        if path.is_file() and path.read_text(encoding="utf-8") == run.text:
            return
        with atomic.replacing(path) as unfinished:
            unfinished.write_text(run.text, encoding="utf-8")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other sweeps from writing at the same time, if the file system supports locks."""
        descriptor = locks.open_file(self.path / "leases" / "study")
        try:
            locks.lock(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path) -> dict[str, Any]:
    try:
        return records.json_object(path)
    except records.DamagedError:
        return {}


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("hash"), str)
