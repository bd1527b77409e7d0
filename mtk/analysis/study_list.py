"""The list of runs that a sweep keeps in its study folder."""

from pathlib import Path
from typing import Any

from mtk.analysis import records


class StudyError(ValueError):
    """A study that cannot be read."""


def read(path: Path) -> dict[str, Any]:
    """Returns what `study.json` says: `name`, `baseline`, `runs` and `remarks`, each optional.

    Args:
        path: The study folder. One without the file is a study too, if it holds `runs/`.

    Raises:
        StudyError: If the folder is no study, or the file is damaged.
    """
    file = path / "study.json"
    if not file.exists() and not (path / "runs").is_dir():
        raise StudyError(
            f"{str(path)!r} is no study folder: it has neither a study.json nor a folder runs/."
        )
    if not file.exists():
        return {}
    try:
        content = records.json_object(file)
        for name in ("name", "baseline"):
            records.entry(content, name, str, file.name)
        records.entry(content, "remarks", list, file.name)
        for number, run in enumerate(records.entry(content, "runs", list, file.name) or []):
            _check(run, f"study.json, run {number}")
    except records.DamagedError as error:
        raise StudyError(f"{str(file)!r} is damaged: {error}. Run the sweep again.") from None
    return content


def runs(path: Path, listed: dict[str, Any]) -> list[tuple[Path, dict[str, Any]]]:
    """Returns the folder of each run, with what the list says of it: nothing for unknown ones.

    Args:
        path: The study folder.
        listed: As `read` makes it.
    """
    folder = path / "runs"
    known = {run["hash"]: run for run in listed.get("runs") or []}
    there = sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    others = [p for p in there if p.name not in known and not p.name.startswith(".")]
    return [(folder / name, run) for name, run in known.items()] + [(p, {}) for p in others]


def _check(run: Any, where: str) -> None:
    if not isinstance(run, dict):
        raise records.DamagedError(f"{where} is {run!r}, an object was expected")
    for name in ("hash", "method", "role"):
        records.entry(run, name, str, where)
    if not run.get("hash"):
        raise records.DamagedError(f"{where} has no 'hash'")
    records.entry(run, "seed", int, where)
    bindings = run.get("bindings")
    if not isinstance(bindings, list) or not all(isinstance(line, str) for line in bindings):
        records.entry(run, "bindings", dict, where)
