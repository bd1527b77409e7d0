"""The folder that a run leaves behind."""

import json
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from mtk import atomic, disk, places
from mtk.experiment import identity
from mtk.experiment.folder_lock import FolderLock

_FORMAT = 1  # of the run folder and its checkpoints
_VERSION = metadata.version("mtk")


class RunFolder:
    """Paths of a run folder, and the files that describe the run.

    `config.gin`, `operative_config.gin` and `manifest.json` are written before the first step;
    `metrics.jsonl`, `tensorboard/` and `checkpoints/` grow with the run; `saved_model/`,
    `model.keras`, what else the workload serves as `saved_model_<name>/`, and `result.json` end it.
    A folder with a `result.json` is complete.

    As a context it keeps other processes out.

    Args:
        path: The folder.
        settings: What makes a run this one; see `mtk.experiment.identity`.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, str]):
        self.path = Path(path)
        self.settings = dict(settings)
        self.manifest = self.path / "manifest.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.selected = self.checkpoints / "selected.weights.h5"
        self.saved_model = self.path / "saved_model"
        self.keras_file = self.path / "model.keras"
        self.result = self.path / "result.json"
        # Says that the files before the first step are complete, and whose they are.
        self.begun = self.checkpoints / "run.json"
        self.lock = FolderLock(self.checkpoints / "lock")

    @classmethod
    def claim(cls, path: str | Path | None, settings: Mapping[str, str]) -> "RunFolder":
        """Returns the folder at `path`: a new or empty one, or one of the same run.

        Raises:
            ValueError: If there is no path, it cannot be made, something else is in the folder, the
                run in it has other settings or is damaged, or another process uses it.
        """
        if path is None:
            raise ValueError("A run needs a folder to write. Name a new one: --run_dir=PATH.")
        folder = cls(path, settings)
        if folder.finished and folder.begun.exists():
            folder._check_same_run()  # It is only shown: nothing is written, so nothing is locked.
        elif folder.lock.path.exists():
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

    def further_saved_model(self, name: str) -> Path:
        """Returns where a SavedModel goes that the workload serves besides the network."""
        return self.path / f"saved_model_{name}"

    def check_there(self, error: OSError) -> None:
        """Checks that the folder was not removed while the run was writing to it.

        Args:
            error: What writing has raised.

        Raises:
            FileNotFoundError: If it was.
        """
        if not self.checkpoints.is_dir():
            raise FileNotFoundError(
                f"The run folder {str(self.path)!r} was removed or moved while the run was going "
                "on, so the run ends. Put it back to go on from its last checkpoint; otherwise the "
                "same command starts anew"
            ) from error

    def stopped_by(self, error: OSError) -> OSError:
        """Returns the error in words of the run: what has become of it, and how it goes on."""
        try:
            self.check_there(error)
            room = f"{disk.free(self.path) / 1e6:.1f} MB are free."
        except OSError as gone:
            return gone
        return OSError(
            f"The run in {str(self.path)!r} has stopped: {error}. {room} What was written before "
            "is sound: give the same command again when there is room."
        )

    def open(
        self, asked: str, operative: str, data: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Makes the folder and writes what is known before the first step, if that is not done.

        Args:
            asked: The configuration as given.
            operative: The configuration in force.
            data: The fingerprint of the workload.

        Raises:
            ValueError: If another process has been quicker, or the run was begun with other data.
            OSError: If the folder cannot be written.
        """
        if not self.lock.held:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
            self._check_same_run()
        if self.begun.exists():
            self._check_same_data(data)
            return
        for name, text in (("config.gin", asked), ("operative_config.gin", operative)):
            with atomic.replacing(self.path / name) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
        about = {"format": _FORMAT, "mtk": _VERSION, "settings": self.settings}
        about["data"] = dict(data)
        atomic.write_json(self.begun, about)

    def close(self, result: dict[str, Any]) -> None:
        """Writes the result, whole or not at all."""
        atomic.write_json(self.result, result)

    def read_result(self) -> dict[str, Any]:
        """Returns the result of a finished run.

        Raises:
            ValueError: If the file is damaged.
        """
        mend = "Remove this file, and the same command makes the end of the run again."
        return _read(self.result, ("status",), mend)

    def _check_same_run(self) -> None:
        if not self.begun.exists():
            return  # Killed before there was anything to go on with.
        mend = "Put it back; or start anew: name a new folder, or remove this one first."
        about = _read(self.begun, ("format", "mtk", "settings"), mend)
        made = (about["format"], about["mtk"])
        if made != (_FORMAT, _VERSION) and not self.finished:
            raise ValueError(
                f"The run in {str(self.path)!r} was begun by mtk {made[1]} (format {made[0]}), and "
                f"this is mtk {_VERSION} (format {_FORMAT}). Nothing was changed. Go on with that "
                "version, or name a new folder."
            )
        differences = identity.difference(about["settings"], self.settings)
        if differences:
            raise ValueError(
                f"The run folder {str(self.path)!r} holds a run of another configuration. Nothing "
                f"was changed. Name a new folder, or undo these differences:\n{differences}"
            )

    def _check_same_data(self, now: Mapping[str, str]) -> None:
        before = json.loads(self.begun.read_text(encoding="utf-8")).get("data", now)
        differences = identity.difference(before, now)
        if differences:
            raise ValueError(
                f"The run in {str(self.path)!r} was begun with other data. Nothing was changed. "
                f"Put them back, or name a new folder. These differ:\n{differences}"
            )

    def _check_outputs(self) -> None:
        """Checks that nothing of others is where the run will write at its end."""
        for file in (self.keras_file, self.manifest, self.metrics, self.selected):
            places.check_file(file)
        for folder in (self.saved_model, *self.path.glob("saved_model_*")):
            places.check_folder(folder)

    def _check_unused(self) -> None:
        path = self.path
        if path.is_symlink() and not path.exists():
            raise ValueError(
                f"The run folder {str(path)!r} is a link that leads to nothing. Name a new folder."
            )
        if path.exists() and (not path.is_dir() or _holds_files(path)):
            state = "holds a finished run" if self.finished else "is not empty"
            raise ValueError(
                f"The run folder {str(path)!r} {state}, and was not begun by this version. Nothing "
                "was changed. Name a new folder."
            )
        try:
            places.check_writable(path)
        except ValueError as error:
            raise ValueError(
                f"The run folder {str(path)!r} cannot be made: {error} Give it by --run_dir=PATH."
            ) from error


def _read(path: Path, needed: Collection[str], mend: str) -> dict[str, Any]:
    """Reads a JSON object with these keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} is damaged: {error}. Nothing was changed. {mend}"
        ) from error
    if not isinstance(content, dict) or not content.keys() >= set(needed):
        keys = ", ".join(needed)
        raise ValueError(
            f"{str(path)!r} is damaged: an object with {keys} was expected. Nothing was changed. "
            f"{mend}"
        )
    return content


def _holds_files(folder: Path) -> bool:
    # A start that was killed at its first breath leaves an empty folder in a folder.
    return any(not entry.is_dir() or any(entry.iterdir()) for entry in folder.iterdir())
