"""What a path to an exported network leads to, found before TensorFlow is imported."""

import zipfile
from pathlib import Path
from typing import NamedTuple

_NEEDED = (
    "Name the folder of a finished run, a SavedModel's folder (with a file 'saved_model.pb'), or a "
    "'.keras' file."
)
_CONFIG = "config.gin"
_SAVED_MODEL = "saved_model.pb"


class Export(NamedTuple):
    """An exported network.

    Attributes:
        path: Of the SavedModel's folder or the `.keras` file.
        config: The configuration of the run that exported it, None where it is not known.
    """

    path: Path
    config: Path | None


def find(path: str | Path, text: bool = False) -> Export:
    """Returns the exported network that a path leads to.

    Args:
        path: A SavedModel's folder, a `.keras` file, or the folder of a run that has exported one.
        text: Whether it shall translate text. By default of a run's exports the one that reads what
            its data give is taken, of a translation the one that searches.

    Raises:
        ValueError: If there is none.
    """
    given = Path(path).expanduser()
    if not given.exists():
        raise ValueError(f"There is nothing at {str(path)!r}. {_NEEDED}")
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
        raise ValueError(f"{str(path)!r} is no file whose name ends in '.keras'. {_NEEDED}")
    if text:
        raise ValueError(
            f"{str(path)!r} is a '.keras' file, which translates no text. Name the folder of a run "
            "that has written 'saved_model_text', or that folder."
        )
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{str(path)!r} is damaged or no Keras file: it is no complete zip archive "
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
            f"The run in {str(folder)!r} has no SavedModel that translates text: no "
            f"{found.name!r}. A translation writes it where tensorflow-text is installed."
        )
    beside = folder / "model.keras"
    instead = f", or name {str(beside)!r}" if beside.is_file() and not text else ""
    raise ValueError(
        f"The run in {str(folder)!r} has no SavedModel: a run writes {found.name!r} when it "
        f"finishes. Give the command again that trains it{instead}."
    )


def _held(folder: Path) -> str:
    if (folder / "study.json").is_file():
        return "it is a study's folder; its runs are in its 'runs', a folder each"
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"the folder holds {', '.join(map(repr, names[:3]))}{more}"
