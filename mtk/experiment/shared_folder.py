"""The run folder as each of several workers sees it: only the chief's is the real one."""

import contextlib
import io
import json
import tarfile
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

    A copy holds what a run is taken up from, sent by the chief: no file system need be shared. All
    workers do the same from there on, so none has to be told what another one read. Copies lie
    among the temporary files. They are removed at the end; that of a killed worker, at the next
    start.

    Args:
        path: The chief's folder.
        settings: What makes a run this one; see `mtk.experiment.fingerprint`.
        workers: The workers; all call this together.

    Raises:
        ValueError: If the chief's folder cannot be claimed, or the workers' settings differ.
    """
    command = "Start all of them with the same command; only TF_CONFIG differs."
    problem = f"The workers do not have the same configuration. {command}"
    _check_alike(fingerprint.alike(settings), workers, problem)
    with contextlib.ExitStack() as stack:
        if workers.is_chief:
            try:
                folder = stack.enter_context(RunFolder.claim(path, settings))
            except (ValueError, OSError):
                workers.from_chief(b"")
                raise
            workers.from_chief(_packed(folder) if workers.number > 1 else b"")
        else:
            copy = stack.enter_context(temporary_folder("mtk-worker-")) / "run"
            _unpack(workers.from_chief(b""), copy)
            folder = stack.enter_context(RunFolder.claim(copy, settings))
        yield folder


def check_same_data(data: Mapping[str, str], workers: Workers) -> None:
    """Finds workers that read other data, on every worker.

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
        raise ValueError(f"{problem}\n{told or '  Another worker says what differs.'}")


def _packed(folder: RunFolder) -> bytes:
    """Returns what a run is taken up from as the content of one file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in (folder.checkpoints, folder.metrics, folder.tensorboard, folder.result):
            if path.exists():
                archive.add(path, path.name)
    return content.getvalue()


def _unpack(content: bytes, folder: Path) -> None:
    if not content:
        raise ValueError("Worker 0 cannot use its run folder; its own output says why.")
    folder.mkdir()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
