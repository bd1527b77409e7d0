"""The run folder on several workers: they share it, and only the chief writes to it."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtk.distribution import Workers
from mtk.experiment import fingerprint
from mtk.experiment.run_folder import RunFolder
from mtk.experiment.tempdir import temporary_folder


@contextlib.contextmanager
def claimed(
    path: str | Path | None, settings: Mapping[str, str], workers: Workers
) -> Iterator[RunFolder]:
    """Claims the run folder for the chief, and gives every other worker a copy.

    A copy holds the files from which a run resumes. From there on, all workers do the same, so they
    need not exchange what they have read. Copies are temporary files. They are removed at the end;
    that of a killed worker, at the next start.

    Args:
        path: The folder, at a path that all workers can access.
        settings: The settings that identify a run; see `mtk.experiment.fingerprint`.
        workers: The workers; all call this together.

    Raises:
        ValueError: If the chief cannot claim the folder, or the workers' settings or views of the
            folder differ.
    """
    command = "Start all of them with the same command; only TF_CONFIG may differ."
    problem = f"The workers do not have the same configuration. {command}"
    _check_alike(fingerprint.alike(settings), workers, problem)
    problem = (
        "The workers do not see the same run folder. Put it on a file system that all of them "
        "share."
    )
    _check_alike(_seen(path) if workers.number > 1 else {}, workers, problem)
    with contextlib.ExitStack() as stack:
        if workers.is_chief:
            try:
                folder = stack.enter_context(RunFolder.claim(path, settings))
            except (ValueError, OSError):
                workers.from_chief(b"")
                raise
        if not workers.from_chief(b"claimed"):
            raise ValueError("Worker 0 cannot use its run folder; see its output for the reason.")
        if not workers.is_chief:
            copy = stack.enter_context(temporary_folder("mtk-worker-")) / "run"
            _copy(path, copy)
            folder = stack.enter_context(RunFolder.claim(copy, settings))
        workers.wait()  # The chief starts to write when all have read.
        yield folder


def check_same_data(data: Mapping[str, str], workers: Workers) -> None:
    """Checks on every worker that all workers read the same data.

    Args:
        data: The fingerprint of this worker's data.
        workers: The workers; all call this together.

    Raises:
        ValueError: If the data differ.
    """
    remedy = "Give all of them the same files."
    _check_alike(data, workers, f"The workers do not have the same data. {remedy}")


def _check_alike(own: Mapping[str, str], workers: Workers, problem: str) -> None:
    chiefs = json.loads(workers.from_chief(json.dumps(dict(own)).encode()))
    differences = fingerprint.difference(chiefs, own)
    (differ,) = workers.any(bool(differences))
    if differ:
        told = differences.replace(" in the folder, ", " at worker 0, ").replace(" now", " here")
        raise ValueError(
            f"{problem}\n{told or '  See the output of another worker for the differences.'}"
        )


def _contents(path: str | Path | None) -> list[Path]:
    """Returns the files and folders from which a run resumes."""
    if path is None:
        return []
    folder = RunFolder(path, {})
    there = (folder.checkpoints, folder.metrics, folder.tensorboard, folder.result)
    return [each for each in there if each.exists()]


def _seen(path: str | Path | None) -> dict[str, str]:
    """Returns the size of each file from which a run resumes, by its path in the folder."""
    files = [file for each in _contents(path) for file in (each, *each.rglob("*"))]
    return {
        str(file.relative_to(path or "")): f"{file.stat().st_size} bytes"
        for file in files
        if file.is_file()
    }


def _copy(path: str | Path | None, copy: Path) -> None:
    copy.mkdir()
    for each in _contents(path):
        if each.is_dir():
            shutil.copytree(each, copy / each.name)
        else:
            shutil.copy(each, copy / each.name)
