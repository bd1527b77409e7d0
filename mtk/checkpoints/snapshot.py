"""The state of a run at one step, in memory and as a folder with checksums."""

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mtk import records
from mtk.data import bounded
from mtk.data.fingerprints import sha256
from mtk.errors import DamagedError

_LARGEST = 1 << 28  # bytes of the state
_VARIABLES, _STATE, _SUMS = "variables.npz", "state.json", "SHA256SUMS"


@dataclass(frozen=True)
class Snapshot:
    """The state of a run between two steps.

    Attributes:
        step: Number of completed steps.
        variables: Values of the model's variables; see `mtk.checkpoints.values`.
        state: All other state, as JSON values.
        lengths: Sizes in bytes of the append-only files, by their path in the run folder.
        files: Complete files that belong to the state, by their name in the checkpoint.
        record: Hash of the run's record at that step; see `AppendOnlyFiles.record_hash`.
    """

    step: int
    variables: Mapping[str, np.ndarray]
    state: Mapping[str, Any]
    lengths: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    record: str = ""

    def save(self, folder: Path) -> None:
        """Writes the snapshot to an empty folder.

        Files are hard-linked, not copied, so they must only be replaced, never modified.
        """
        arrays: dict[str, Any] = dict(self.variables)
        np.savez(folder / _VARIABLES, **arrays)
        content = {"step": self.step, "state": self.state, "lengths": self.lengths}
        content["record"] = self.record
        (folder / _STATE).write_text(json.dumps(content, indent=1), encoding="utf-8")
        for name, path in self.files.items():
            link(path, folder / name)
        names = sorted(path.name for path in folder.iterdir())
        # The format of `sha256sum -c SHA256SUMS`.
        sums = [f"{sha256(folder / name)}  {name}\n" for name in names]
        (folder / _SUMS).write_text("".join(sums), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Snapshot":
        """Reads a snapshot and verifies its checksums.

        Raises:
            DamagedError: If it has changed since it was written, with the reason.
        """
        try:
            _verify(folder)
            content = _read(folder)
            values = folder / _VARIABLES  # Not compressed.
            variables = bounded.read_npz(values, most=values.stat().st_size)
            known = (_VARIABLES, _STATE, _SUMS)
            files = {path.name: path for path in folder.iterdir() if path.name not in known}
            step, state, lengths = (content[name] for name in ("step", "state", "lengths"))
            return cls(step, variables, state, lengths, files, content["record"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DamagedError(str(error)) from error


def link(source: Path, target: Path) -> None:
    """Hard-links a file, so that it outlives its first name; copies it if links are unsupported."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_without_variables(folder: Path) -> Snapshot:
    """Reads a snapshot without variables and files, and verifies only that part.

    Raises:
        DamagedError: If it has changed since it was written, with the reason.
    """
    try:
        _check(folder, _STATE, _sums(folder).get(_STATE))
        content = _read(folder)
        state, lengths = dict(content["state"]), content["lengths"]
        return Snapshot(content["step"], {}, state, lengths, record=content["record"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(str(error)) from error


def _read(folder: Path) -> dict[str, Any]:
    return records.json_object(folder / _STATE, _LARGEST)


def _verify(folder: Path) -> None:
    sums = _sums(folder)
    for name in sorted({path.name for path in folder.iterdir()} - {_SUMS} | {*sums}):
        _check(folder, name, sums.get(name))


def _sums(folder: Path) -> dict[str, str]:
    """Returns the recorded checksums by file name."""
    lines = records.text(folder / _SUMS).splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _check(folder: Path, name: str, digest: str | None) -> None:
    path = folder / name
    # An untrusted list may contain any path, and reading a pipe would never end.
    if path.parent != folder or not path.is_file():
        raise DamagedError(f"{name!r:.60} is missing, or is not a file of the checkpoint")
    if digest is None:
        raise DamagedError(f"{_SUMS} has no checksum of {name}")
    if sha256(path) != digest:
        raise DamagedError(f"the checksum of {name} is wrong")
