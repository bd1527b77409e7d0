"""Finds exported networks by path, without importing TensorFlow."""

import zipfile
from pathlib import Path
from typing import NamedTuple

_NEEDED = (
    "Give the folder of a finished run, a SavedModel folder (with a file 'saved_model.pb'), or "
    "a '.keras' file."
)
_CONFIG = "config.gin"
_SAVED_MODEL = "saved_model.pb"


class Export(NamedTuple):
    """An exported network.

    Attributes:
        path: Path of the SavedModel's folder or the `.keras` file.
        config: The configuration of the run that exported it, None if it is unknown.
    """

    path: Path
    config: Path | None


def find(path: str | Path, text: bool = False) -> Export:
    """Returns the exported network at a path.

    Args:
        path: A SavedModel's folder, a `.keras` file, or the folder of a run that has exported one.
        text: Whether it must translate text. By default, a run's export that takes its data as
            inputs is returned; of a translation run, the one that searches.

    Raises:
        ValueError: If there is none.
    """
    given = Path(path).expanduser()
    if not given.exists():
        raise ValueError(f"The path {str(path)!r} does not exist. {_NEEDED}")
    if not given.is_dir():
        _check_file(given, text)
    elif (given / _CONFIG).is_file():
        return Export(_of_run(given, text), given / _CONFIG)
    elif not (given / _SAVED_MODEL).is_file():
        raise ValueError(f"There is no SavedModel in {str(path)!r}: {_held(given)}. {_NEEDED}")
    beside = given.parent / _CONFIG
    return Export(given, beside if beside.is_file() else None)


def _check_file(path: Path, text: bool) -> None:
    if path.suffix != ".keras" or not path.is_file():
        raise ValueError(f"{str(path)!r} is not a file whose name ends in '.keras'. {_NEEDED}")
    if text:
        raise ValueError(
            f"{str(path)!r} is a '.keras' file, which cannot translate text. Give the folder of "
            "a run that wrote 'saved_model_text', or that folder itself."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{str(path)!r} is damaged or not a Keras file: it is not a complete zip archive "
            f"({path.stat().st_size:,} bytes). Export the network again."
        )


def _of_run(folder: Path, text: bool) -> Path:
    searching = folder / "saved_model_ids"
    by_default = searching if searching.is_dir() else folder / "saved_model"
    found = folder / "saved_model_text" if text else by_default
    if (found / _SAVED_MODEL).is_file():
        return found
    if text and (folder / "saved_model" / _SAVED_MODEL).is_file():
        raise ValueError(
            f"The run in {str(folder)!r} has no SavedModel that translates text: {found.name!r} "
            "is missing. Translation runs write it if tensorflow-text is installed."
        )
    beside = folder / "model.keras"
    instead = f", or give {str(beside)!r}" if beside.is_file() and not text else ""
    raise ValueError(
        f"The run in {str(folder)!r} has no SavedModel: a run writes {found.name!r} when it "
        f"finishes. Continue the run with its training command{instead}."
    )


def _held(folder: Path) -> str:
    if (folder / "study.json").is_file():
        return "it is a study folder; its run folders are in 'runs'"
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the folder contains {', '.join(map(repr, names[:3]))}{more}"
