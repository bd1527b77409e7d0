"""Submissions of entries: predictions of sealed runs, with hashes of everything behind them."""

import hashlib
import importlib.metadata
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mtk
from mtk import atomic, config, places, predictions, records
from mtk.analysis.load import read_list
from mtk.bench.card import MODELS, SEEDS
from mtk.bench.entry import BenchFolder, check_data, costs, data_of
from mtk.config import names
from mtk.data.fingerprints import sha256
from mtk.errors import StudyError

FORMAT = 1
LIST = "submission.json"
# The files of a submission besides its list: one of each kind for each run.
FOLDERS = {"predictions": "npz", "configurations": "gin"}
LARGEST = {"predictions": 160 << 20, "configurations": 1 << 20}  # Bytes of a file.
_OURS = ("mtk", "keras", "tensorflow", "builtins", "__main__")


def submit(folder: BenchFolder, label: str, out: str | Path) -> Path:
    """Packs the selected models of an entry, five at most, with five seeds each.

    Args:
        folder: Folder with the runs of the entry.
        label: Label of the entry.
        out: Output folder, or a `.zip` file.

    Returns:
        The path that was written.

    Raises:
        StudyError: If the entry is not finished, or one of its runs is invalid.
        ValueError: If something else exists at the path.
    """
    entry = folder.entry(label)
    if not entry.list.exists():
        raise StudyError(
            f"{str(folder.path)!r} has no entry {label!r}. Run it first: mtk bench run "
            f"--method={label}"
        )
    listed = read_list(entry.path)["runs"] or []
    models = _models(listed, entry.path)
    if not models:
        raise StudyError(
            f"No model of {label!r} has finished with {SEEDS} fresh seeds, so there is nothing "
            f"to submit. Continue with: mtk bench run --method={label}"
        )
    runs = [run["hash"] for own in models for run in own]
    files = {
        f"{kind}/{run}.{ending}": _place(entry.path, kind, run)
        for run in runs
        for kind, ending in FOLDERS.items()
    }
    about = {
        "format": FORMAT,
        "entry": label,
        "card": {"name": folder.card.name, "hash": folder.hash},
        "code": _code(files),
        "data": _data(folder, entry.path, runs),
        "cost": {**costs(entry, listed), "static_cpu_seconds": folder.static_seconds()},
        "models": [
            {
                "parameters": {n: repr(v) for n, v in own[0]["bindings"].items()},
                "runs": [{"seed": run["seed"], "run": run["hash"]} for run in own],
            }
            for own in models
        ],
        "files": {name: sha256(file) for name, file in files.items()},
    }
    return _write(Path(out), about, files)


def _models(listed: Sequence[dict[str, Any]], place: Path) -> list[list[dict[str, Any]]]:
    """Returns the runs of each model that was measured with all seeds."""
    models: dict[str, list[dict[str, Any]]] = {}
    for run in listed:
        if run.get("stage") == "measure":
            models.setdefault(json.dumps(run["bindings"], sort_keys=True), []).append(run)
    whole = []
    for own in models.values():
        results = [_result(place / "runs" / run["hash"]) for run in own]
        ended = [result.get("status") == "finished" for result in results]
        if any(done and not r.get("sealed") for done, r in zip(ended, results, strict=True)):
            raise StudyError(
                f"The runs in {str(place)!r} have measured test, which must stay sealed in a "
                "benchmark. Run the entry again in a new folder with mtk bench run."
            )
        if len(own) == SEEDS and all(ended):
            whole.append(sorted(own, key=lambda run: run["seed"]))
        else:
            print(f"Left out because it has not finished with {SEEDS} seeds: {own[0]['bindings']}")
    if len(whole) > MODELS:
        raise StudyError(
            f"{str(place)!r} has {len(whole)} measured models, but a submission can have at "
            f"most {MODELS}. Run the entry again in a new folder with mtk bench run."
        )
    return whole


def _result(run: Path) -> dict[str, Any]:
    file = run / "result.json"
    try:
        return records.json_object(file) if os.path.lexists(file) else {}
    except records.DamagedError as error:
        raise _damaged(file, error) from error


def _place(entry: Path, kind: str, run: str) -> Path:
    """Returns a file to submit, if it is not a link and can be read."""
    is_config = kind == "configurations"
    place = entry / "configs" if is_config else entry / "runs" / run
    file = place / (f"{run}.gin" if is_config else "test_predictions.npz")
    try:
        with records.opened(file, LARGEST[kind]) as opened:
            if not is_config:
                predictions.read(opened)
    except FileNotFoundError:
        raise _damaged(file, f"{file.name} is missing") from None
    except ValueError as error:
        raise _damaged(file, error) from error
    return file


def _damaged(file: Path, reason: object) -> StudyError:
    return StudyError(
        f"{str(file)!r} cannot be submitted: {reason}. Remove the run's result.json and repeat "
        "mtk bench run, which repeats the end of the run."
    )


def _data(folder: BenchFolder, entry: Path, runs: Sequence[str]) -> dict[str, str]:
    """Returns the fingerprint of the data of all runs."""
    found = [data_of(entry / "runs" / run) for run in runs]
    if any(each != found[0] for each in found):
        raise StudyError(
            f"The runs in {str(entry)!r} used different data. On a card, the data must be the "
            "same for all seeds: leave `data_seed` out of its settings, and run the entry again."
        )
    check_data(folder.card, found[0], "The data of these runs")
    return found[0]


def _code(files: dict[str, Path]) -> dict[str, Any]:
    """Returns versions and source hashes: of mtk, and of other modules that runs name."""
    root = Path(mtk.__file__).parent
    sources = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        sources.update(f"{path.relative_to(root)}\0{sha256(path)}\n".encode())
    text = next(file for name, file in files.items() if name.endswith(".gin"))
    draft = config.Draft.read([text])
    modules = {place.rpartition(".")[0] for place in draft.modules().values()}
    found = {}
    for module in sorted(modules):
        spec = None if module.split(".")[0] in _OURS else names.spec(module)
        if spec is not None and spec.origin and Path(spec.origin).is_file():
            found[module] = sha256(Path(spec.origin))
    version = importlib.metadata.version("mtk")
    return {"mtk": version, "sources": sources.hexdigest(), "modules": found}


def _write(out: Path, about: dict[str, Any], files: dict[str, Path]) -> Path:
    text = json.dumps(about, indent=1, allow_nan=False)
    if out.suffix == ".zip":
        places.check_file(out).parent.mkdir(parents=True, exist_ok=True)
        with atomic.replacing(out) as aside, zipfile.ZipFile(aside, "w") as archive:
            archive.writestr(LIST, text)
            for name, file in files.items():  # Predictions are already compressed.
                archive.write(file, name)
        return out
    places.check_folder(out).parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing_folder(out) as aside:
        (aside / LIST).write_text(text, encoding="utf-8")
        for name, file in files.items():
            (aside / name).parent.mkdir(exist_ok=True)
            (aside / name).write_bytes(file.read_bytes())
    return out
