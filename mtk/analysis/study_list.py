"""The list of runs that a sweep keeps in its study folder."""

from pathlib import Path
from typing import Any

from mtk.analysis import records, schema

_MOST_BYTES = 1 << 28


class StudyError(ValueError):
    """A study that cannot be read."""


def read(path: Path) -> dict[str, Any]:
    """Returns what `study.json` says: `name`, `baseline`, `runs` and `remarks`, each or None.

    What it says of each run is as it stands there, but for the hash; `run_record.read` checks it.

    Args:
        path: The study folder. One without the file is a study too, if it holds `runs/`.

    Raises:
        StudyError: If the folder is no study, or the file is damaged.
    """
    file = path / "study.json"
    if not file.is_symlink() and not file.exists():
        if not (path / "runs").is_dir():
            raise StudyError(
                f"{str(path)!r} is no study folder: it has neither a study.json nor a folder runs/."
            )
        return {}
    try:
        content = records.json_object(file, _MOST_BYTES)
        found = schema.check(content, schema.STUDY, file.name)
        for number, run in enumerate(found["runs"] or []):
            if run is None or run["hash"] is None:
                raise records.DamagedError(f"{file.name}, run {number} has no 'hash'")
    except records.DamagedError as error:
        raise StudyError(f"{str(file)!r} is damaged: {error}. Run the sweep again.") from None
    return {**found, "runs": content.get("runs")}


def runs(path: Path, listed: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Returns the folder of each run, with what the list says of it: nothing for unknown ones.

    Args:
        path: The study folder.
        listed: As `read` makes it.

    Raises:
        StudyError: If the folder of the runs is a link, which may lead anywhere.
    """
    folder = path / "runs"
    if folder.is_symlink():
        raise StudyError(f"{str(folder)!r} is a link. Put the folder itself there.")
    known = {run["hash"]: run for run in listed.get("runs") or []}
    there = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    others = [p for p in there if p.name not in known and not p.name.startswith(".")]
    return [(folder / name, run) for name, run in known.items()] + [(p, {}) for p in others]
