"""The folder that a run writes."""

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from mtk import atomic, places, records, resources
from mtk.checkpoints import AppendOnlyFiles
from mtk.experiment.callables import digest
from mtk.experiment.folder_lock import FolderLock
from mtk.experiment.run_description import RunDescription, read_json, recorded, snapshots


class RunFolder:
    """Paths of a run folder, and the files that describe the run.

    `config.gin`, `operative_config.gin` and `manifest.json` are written before the first step;
    `metrics.jsonl`, `tensorboard/` and `checkpoints/` grow with the run; `saved_model/`,
    `model.keras`, what else the workload serves as `saved_model_<name>/`, `test_examples.npz` (the
    metrics of each test example; see `mtk.example_values`; of a sealed test `test_predictions.npz`
    instead), and `result.json` are written at its end. A folder with a `result.json` is complete.
    `rungs/` has the results at each pause. `lineage.json` exists if the run started from a
    checkpoint of another run.

    As a context manager, it locks the folder against other processes.

    Args:
        path: The folder.
        settings: The settings that identify a run; see `mtk.experiment.fingerprint`.

    Attributes:
        description: The description of the run in the opened folder.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, str]):
        self.path = Path(path)
        self.settings = dict(settings)
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.jsonl"
        self.lineage = self.path / "lineage.json"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.selected = self.checkpoints / "selected.weights.h5"
        self.saved_model = self.path / "saved_model"
        self.keras_file = self.path / "model.keras"
        self.test_examples = self.path / "test_examples.npz"
        self.test_predictions = self.path / "test_predictions.npz"
        self.result = self.path / "result.json"
        # Shows that the files before the first step are complete, and identifies their run.
        self.begun = self.checkpoints / "run.json"
        self.lock = FolderLock(self.checkpoints / "lock")
        # Descriptions of the existing run: in `run.json`, and in the newest checkpoint.
        self._known: list[RunDescription] = []
        self.description = RunDescription(self.settings)

    @classmethod
    def claim(cls, path: str | Path | None, settings: Mapping[str, str]) -> "RunFolder":
        """Returns the folder at `path`: a new or empty one, or one of the same run.

        Raises:
            ValueError: If there is no path, it cannot be created, it holds something else, its run
                has other settings or is damaged, or another process uses it.
        """
        if path is None:
            raise ValueError("A run needs an output folder. Give a new one: --run_dir=PATH.")
        folder = cls(path, settings)
        if folder.finished and folder.begun.exists():
            folder._check_same_run()  # It is only read, so no lock is needed.
        elif folder.lock.path.exists() or recorded(folder.begun):
            places.check_no_links(folder.path.rglob("*"))
            folder.lock.acquire()
            try:
                folder._check_same_run()
                folder._check_outputs()
            except ValueError:
                folder.lock.release()
                raise
        else:
            folder._check_unused()
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lock.release()

    @property
    def finished(self) -> bool:
        return self.result.exists()

    def rung(self, step: int) -> Path:
        """Returns the path of the results of a pause at a step."""
        return self.path / "rungs" / f"{step}.json"

    def pause(self, step: int) -> Path:
        """Returns the path of the checkpoint of a pause at a step."""
        return self.path / "rungs" / str(step)

    def further_saved_model(self, name: str) -> Path:
        """Returns the path of a SavedModel that the workload serves besides the network."""
        return self.path / f"saved_model_{name}"

    def check_there(self, error: OSError) -> None:
        """Checks that the folder was not removed while the run was writing to it.

        Args:
            error: The error raised by writing.

        Raises:
            FileNotFoundError: If it was removed.
        """
        if not self.checkpoints.is_dir():
            raise FileNotFoundError(
                f"The run folder {str(self.path)!r} was removed or moved during the run, so the "
                "run ends. Restore it to continue from its last checkpoint; otherwise the same "
                "command starts from the beginning"
            ) from error

    def stopped_by(self, error: OSError) -> OSError:
        """Returns an error that describes the state of the run and how to continue it."""
        try:
            self.check_there(error)
            room = f"{resources.free(self.path) / 1e6:.1f} MB are free."
        except OSError as gone:
            return gone
        return OSError(
            f"The run in {str(self.path)!r} has stopped: {error}. {room} Everything written "
            "before is intact: free some space, then run the same command again to continue."
        )

    def open(
        self, asked: str, operative: str, data: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Creates the folder and writes the files of the time before the first step, if needed.

        Args:
            asked: The configuration as given.
            operative: The configuration in force.
            data: The fingerprint of the workload.

        A file that was changed since it was written is rewritten, with a warning.

        Raises:
            ValueError: If another process was faster, or the run was started with other data.
            OSError: If the folder cannot be written.
        """
        if not self.lock.held:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
            self._check_same_run()
        for description in self._known:
            description.check_data(self.path, data)
        known = self._known[0] if self._known else RunDescription(self.settings, dict(data))
        texts = {"config.gin": asked, "operative_config.gin": operative}
        self.description = replace(known, files=self._write_texts(texts, known.files))
        if not self.begun.exists() or self.description != known:
            self.description.save(self.begun)

    def close(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the result atomically, and returns it with the keys that identify its run."""
        about: dict[str, Any] = {"run": self.description.hash, "data": {**self.description.data}}
        with contextlib.suppress(FileNotFoundError, records.DamagedError):  # Then it has no hash.
            about["record"] = records.digest(self.metrics)
        atomic.write_json(self.result, {**result, **about})
        return {**result, **about}

    def read_result(self) -> dict[str, Any]:
        """Returns the result of a finished run.

        Raises:
            ValueError: If the file is damaged, or belongs to another run.
        """
        fix = "Remove this file and run the same command again to repeat the end of the run."
        result = read_json(self.result, ("status",), fix)
        for description in self._known:
            description.check_result(result, self.result)
        for name in self._known[0].changed(self.path) if self._known else ():
            warnings.warn(
                f"{str(self.path / name)!r} was changed after the run wrote it.", stacklevel=2
            )
        if problem := self._problem_of_record(result.get("record")):
            warnings.warn(f"{problem}. The result is not affected.", stacklevel=2)
        return result

    def _problem_of_record(self, ended: str | None) -> str:
        """Returns the problem of a finished run's record; `ended` is its hash at the end."""
        if ended and self.metrics.exists():
            with contextlib.suppress(records.DamagedError):
                if records.digest(self.metrics) == ended:
                    return ""
            return f"The log {str(self.metrics)!r} was changed after the run ended"
        files = AppendOnlyFiles(self.path, self.metrics, self.tensorboard)
        newest = next(snapshots(self.checkpoints), None)  # It holds the lengths of the record.
        return files.problem(newest.lengths, newest.record) if newest else ""

    def _check_same_run(self) -> None:
        known = recorded(self.begun)
        if not known:
            self._check_nothing_lost()
            return  # Killed before the first checkpoint.
        for description in known:
            description.check_same(self.path, self.settings, self.finished)
        self._known = known

    def _check_nothing_lost(self) -> None:
        left = [path for path in (self.metrics, self.result) if path.exists()]
        if left:
            raise ValueError(
                f"{str(self.begun)!r} is missing, and no valid checkpoint tells which run "
                f"{left[0].name} belongs to. Nothing was changed. Restore the file; or start again "
                "in a new folder, or after removing this one."
            )

    def _write_texts(self, texts: Mapping[str, str], hashes: Mapping[str, str]) -> dict[str, str]:
        """Writes the files that are missing or were changed; returns all hashes."""
        found = dict(hashes)
        for name, text in texts.items():
            path = places.check_file(self.path / name)
            if path.exists() and digest(path.read_bytes()) == hashes.get(name):
                continue
            if path.exists() and name in hashes:
                warnings.warn(
                    f"{str(path)!r} was changed after the run wrote it. It is written again.",
                    stacklevel=3,
                )
            with atomic.replacing(path) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
            found[name] = digest(text.encode())
        return found

    def _check_outputs(self) -> None:
        """Checks that no foreign files are at the paths that the run writes at its end."""
        for file in (self.keras_file, self.manifest, self.metrics, self.selected):
            places.check_file(file)
        places.check_file(self.test_examples)
        for folder in (self.saved_model, *self.path.glob("saved_model_*")):
            places.check_folder(folder)

    def _check_unused(self) -> None:
        state = "contains a finished run" if self.finished else "is not empty"
        places.check_unused(self.path, state)
