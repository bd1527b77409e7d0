"""The description of a run: its settings, its data, and the version that started it."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Self

from mtk import atomic, records
from mtk.checkpoints import DamagedError, Snapshot, read_without_variables
from mtk.experiment import fingerprint
from mtk.experiment.callables import digest

_FORMAT = 3  # of the run folder and its checkpoints
_VERSION = metadata.version("mtk")
_CHECKPOINTS = "[0-9]*-step-*"
_KEYS = ("format", "mtk", "settings")
_FIX = "Restore it; or start again in a new folder, or after removing this one."


@dataclass(frozen=True)
class RunDescription:
    """The content of `run.json`, which every checkpoint holds too.

    Attributes:
        settings: The settings that identify a run; see `mtk.experiment.fingerprint`.
        data: The fingerprint of its data.
        files: Hashes of the files that describe the run, by name.
        format: Version of the run folder's format.
        mtk: The version that started the run.
    """

    settings: Mapping[str, str]
    data: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    format: int = _FORMAT
    mtk: str = _VERSION

    @property
    def hash(self) -> str:
        """A hash of settings and data, which identifies the result of a run."""
        return digest(json.dumps([self.settings, self.data], sort_keys=True).encode())

    def as_dict(self) -> dict[str, Any]:
        """Returns the content as JSON values."""
        return {**asdict(self), "hash": self.hash}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Returns the description from the result of `as_dict`; earlier versions wrote less.

        Raises:
            ValueError: If the content has wrong types.
        """
        settings, data, files = parts = [content.get(n, {}) for n in ("settings", "data", "files")]
        if not all(isinstance(part, dict) for part in parts):
            raise ValueError(
                f"A run must be described by dicts of strings. Received: {parts!r:.200}"
            )
        return cls(settings, data, files, content["format"], content["mtk"])

    def changed(self, folder: Path) -> list[str]:
        """Returns the files that describe the run and were changed since it wrote them."""
        return [name for name, known in self.files.items() if _differs(folder / name, known)]

    def save(self, path: Path) -> None:
        """Writes `run.json`.

        Raises:
            OSError: If it cannot be written.
        """
        atomic.write_json(path, self.as_dict())

    def check_same(self, folder: Path, settings: Mapping[str, str], finished: bool) -> None:
        """Checks that a run with these settings may continue the run in the folder.

        Raises:
            ValueError: If it may not, with the differences.
        """
        if self.format != _FORMAT or (self.mtk != _VERSION and not finished):
            raise ValueError(
                f"The run in {str(folder)!r} was started by mtk {self.mtk} (format "
                f"{self.format}), but this is mtk {_VERSION} (format {_FORMAT}). Nothing was "
                "changed. Continue with that version, or give a new folder."
            )
        differences = fingerprint.difference(self.settings, settings)
        if differences:
            raise ValueError(
                f"The run folder {str(folder)!r} contains a run with another configuration. "
                "Nothing was changed. Give a new folder, or undo these differences:\n"
                f"{differences}"
            )

    def check_data(self, folder: Path, data: Mapping[str, str]) -> None:
        """Checks that the data are those of the run.

        Raises:
            ValueError: If they are not, with the differences.
        """
        differences = fingerprint.difference(self.data, data)
        if differences:
            raise ValueError(
                f"The run in {str(folder)!r} was started with other data. Nothing was changed. "
                "Restore the data, or give a new folder. Differences:\n"
                f"{differences}"
            )

    def check_result(self, result: Mapping[str, Any], path: Path) -> None:
        """Checks that a result is that of the run.

        Raises:
            ValueError: If it is another run's.
        """
        if self.format > 1 and result.get("run") != self.hash:
            raise ValueError(
                f"{str(path)!r} belongs to another run: it names the run "
                f"{result.get('run')!r}, but this is {self.hash!r}. Nothing was changed. Restore "
                "the right file; or remove this one and run the same command again to repeat "
                "the end of the run."
            )


def recorded(begun: Path) -> list[RunDescription]:
    """Returns the descriptions in `run.json` and in the newest valid checkpoint, if they exist.

    Checkpoints describe their run too, in case the file is lost.

    Args:
        begun: Path of `run.json`.

    Raises:
        ValueError: If the file is damaged.
    """
    found = [read_json(begun, _KEYS, _FIX)] if begun.exists() else []
    found += [snapshot.state["run"] for snapshot in islice(snapshots(begun.parent), 1)]
    return [RunDescription.of(content) for content in found if content]


def snapshots(folder: Path) -> Iterator[Snapshot]:
    """Yields the valid checkpoints of a folder without their variables, the newest first."""
    for path in sorted(folder.glob(_CHECKPOINTS), key=_number, reverse=True):
        try:
            found = read_without_variables(path)
        except DamagedError:
            continue  # It is set aside, with a warning, when the run resumes.
        if "run" in found.state:
            yield found


def _differs(path: Path, known: str) -> bool:
    """Returns whether a file exists and has another hash; it may belong to others."""
    try:
        return path.exists() and digest(records.text(path).encode()) != known
    except ValueError:  # It is not a file, or not text.
        return True


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def read_json(path: Path, needed: Collection[str], fix: str) -> dict[str, Any]:
    """Reads a JSON object with these keys.

    Raises:
        ValueError: If the file holds something else; the message ends with `fix`.
    """
    try:
        content = records.json_object(path)
    except ValueError as error:
        raise ValueError(
            f"{str(path)!r} is damaged: {error}. Nothing was changed. {fix}"
        ) from error
    if not content.keys() >= set(needed):
        keys = ", ".join(needed)
        raise ValueError(
            f"{str(path)!r} is damaged: expected an object with {keys}. Nothing was changed. {fix}"
        )
    return content
