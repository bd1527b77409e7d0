"""Reads submissions from others: nothing in them is trusted before it is checked."""

import contextlib
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtk import predictions, records
from mtk.analysis import plain_text, schema
from mtk.analysis.schema import Kind, Named
from mtk.bench.card import LABEL, MODELS, SEEDS
from mtk.bench.submission import FOLDERS, FORMAT, LARGEST, LIST
from mtk.errors import StudyError
from mtk.predictions import Predictions

_MOST = {**LARGEST, LIST: 4 << 20}
_MOST_IN_ALL = MODELS * SEEDS * sum(LARGEST.values()) + _MOST[LIST]
# Errors that a damaged archive may raise.
_DAMAGE = (RuntimeError, NotImplementedError, EOFError, ValueError, zlib.error, zipfile.BadZipFile)
_RUN = re.compile(r"[0-9a-f]{16}")
_HASH = re.compile(r"[0-9a-f]{64}")


def _matching(pattern: re.Pattern[str], expected: str) -> Kind:
    def read(value: Any) -> str:
        if not pattern.fullmatch(value):
            raise ValueError
        return str(value)

    return Kind(expected, read)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e15:
        raise ValueError
    return float(value)


def _seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 32:
        raise ValueError
    return value


def _plain(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _text(value: Any) -> str:
    return plain_text.sentence(_plain(value))


_DIGEST = _matching(_HASH, "64 hexadecimal digits")
_WORDS = Kind("a string", _text)
_AMOUNT = Kind("a number, 0 or more", _number)
_RUNS = [{"seed": Kind("a seed", _seed), "run": _matching(_RUN, "16 hexadecimal digits")}]
_SCHEMA: dict[str, Any] = {
    "format": Kind(f"the number {FORMAT}", _seed),
    "entry": _matching(LABEL, "a name of letters, digits, '_' and '-'"),
    "card": {"name": _WORDS, "hash": _DIGEST},
    "code": {"mtk": _WORDS, "sources": _DIGEST, "modules": Named(_DIGEST)},
    "data": Named(Kind("a string", _plain)),
    "cost": dict.fromkeys(
        ("configurations", "tuning_cpu_seconds", "measuring_cpu_seconds", "static_cpu_seconds"),
        _AMOUNT,
    ),
    "models": [{"parameters": Named(_WORDS), "runs": _RUNS}],
    "files": Named(_DIGEST),
}


@dataclass(frozen=True)
class Submission:
    """A submission whose files match its list.

    Attributes:
        hash: Hash of the list, and so of the whole submission.
        about: The checked content of the list.
        files: Its files.
    """

    hash: str
    about: dict[str, Any]
    files: "_Files"

    def predictions(self, run: str) -> Predictions:
        """Returns the predictions of a run.

        Raises:
            DamagedError: If the file holds something else.
        """
        name = f"predictions/{run}.npz"
        try:
            return predictions.read(io.BytesIO(self.files.read(name)))
        except ValueError as error:
            raise records.DamagedError(f"{name}: {error}") from None


@contextlib.contextmanager
def received(path: str | Path) -> Iterator[Submission]:
    """Opens a submission.

    Args:
        path: A folder or a `.zip` file.

    Raises:
        StudyError: If it is damaged, was changed, or is not a submission.
    """
    try:
        with _opened(Path(path)) as files:
            content = files.read(LIST)
            about = _checked(content)
            wanted = {
                f"{kind}/{run}.{ending}" for run in _runs(about) for kind, ending in FOLDERS.items()
            }
            if {*about["files"]} != wanted:
                raise records.DamagedError(f"{LIST} must list exactly two files for each run")
            files.check_names({LIST, *wanted})
            for name in sorted(wanted):
                if hashlib.sha256(files.read(name)).hexdigest() != about["files"][name]:
                    raise records.DamagedError(f"{name} was changed after it was packed")
            _check_different(about)
            yield Submission(hashlib.sha256(content).hexdigest(), about, files)
    except (records.DamagedError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"{str(path)!r} cannot be scored: {error}. No read was spent. Pack it again with "
            "mtk bench submit"
        ) from None


def _check_different(about: Mapping[str, Any]) -> None:
    """Raises a DamagedError if two seeds predict the same: copies of a run have no noise."""
    for model in about["models"]:
        first: dict[str, int] = {}
        for run in model["runs"]:
            known = first.setdefault(about["files"][f"predictions/{run['run']}.npz"], run["seed"])
            if known != run["seed"]:
                raise records.DamagedError(
                    f"the runs with the seeds {known} and {run['seed']} have the same predictions"
                )


def _runs(about: Mapping[str, Any]) -> list[str]:
    return [run["run"] for model in about["models"] for run in model["runs"]]


def _checked(content: bytes) -> dict[str, Any]:
    """Returns the content of the list, if it is complete."""
    found: dict[str, Any] = schema.check(records.parsed(content, LIST), _SCHEMA, LIST)
    _check_whole(found, _SCHEMA, LIST)
    if found["format"] != FORMAT:
        raise records.DamagedError(
            f"its format is {found['format']}, but this version reads format {FORMAT}"
        )
    models = found["models"]
    if not 1 <= len(models) <= MODELS:
        raise records.DamagedError(f"it has {len(models)} models; expected 1 to {MODELS}")
    seeds = [run["seed"] for run in models[0]["runs"]]
    if len({*seeds}) != SEEDS or any([r["seed"] for r in m["runs"]] != seeds for m in models):
        raise records.DamagedError(
            f"all models must have the same {SEEDS} seeds, in the same order"
        )
    if len({*_runs(found)}) != len(_runs(found)):
        raise records.DamagedError("a run occurs twice")
    return found


def _check_whole(found: Any, expected: Any, where: str) -> None:
    """Raises a DamagedError if an entry is missing."""
    if found is None:
        raise records.DamagedError(f"{where} is missing")
    if isinstance(expected, list):
        for number, each in enumerate(found):
            _check_whole(each, expected[0], f"{where}, {number}")
    elif isinstance(expected, dict):
        for name, kind in expected.items():
            _check_whole(found[name], kind, f"{where}, {name!r}")


class _Files:
    """The files of a submission, by our own names only: a submission cannot choose paths."""

    def read(self, name: str) -> bytes:
        """Returns the content of a file."""
        raise NotImplementedError

    def check_names(self, expected: set[str]) -> None:
        """Raises a DamagedError if there are other files."""


class _Folder(_Files):
    def __init__(self, path: Path):
        self._path = path

    def read(self, name: str) -> bytes:
        folder = (self._path / name).parent
        if folder.is_symlink():
            raise records.DamagedError(
                f"{folder.name} is a symbolic link; replace it by the folder itself"
            )
        most = _MOST[name.partition("/")[0]]
        try:
            with records.opened(self._path / name, most) as file:
                return file.read(most)
        except FileNotFoundError:
            raise records.DamagedError(f"{name} is missing") from None


class _Archive(_Files):
    def __init__(self, archive: zipfile.ZipFile):
        self._archive = archive

    def read(self, name: str) -> bytes:
        most = _MOST[name.partition("/")[0]]
        try:
            with self._archive.open(name) as file:
                content = file.read(most + 1)
        except KeyError:
            raise records.DamagedError(f"{name} is missing") from None
        except _DAMAGE as error:
            raise records.DamagedError(f"{name} cannot be read: {error}") from None
        if len(content) > most:
            raise records.DamagedError(f"{name} has more than {most} bytes")
        return content

    def check_names(self, expected: set[str]) -> None:
        names = self._archive.namelist()
        if {*names} != expected or len(names) != len(expected):
            raise records.DamagedError(
                "it contains files that are not in its list, lacks some, or has one twice"
            )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Files]:
    if path.is_dir():
        yield _Folder(path)
        return
    try:
        with records.opened(path, _MOST_IN_ALL) as file, zipfile.ZipFile(file) as archive:
            yield _Archive(archive)
    except FileNotFoundError:
        raise records.DamagedError("there is no such file or folder") from None
