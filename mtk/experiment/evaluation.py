"""Evaluates an exported network on a split of a workload."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtk import config, export
from mtk.experiment import Optimization, RunFolder, fingerprint, results, run
from mtk.experiment.run_description import recorded
from mtk.trainer import MultiTaskModel, batch
from mtk.workloads import Workload


def evaluate(
    workload: Callable[[], Workload],
    saved_model: str | Path,
    split: str = "test",
    batch_size: int = 256,
    known: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Evaluates an exported network with the same losses and metrics as in training.

    Args:
        workload: Factory of the tasks and their data.
        saved_model: An export that `mtk.export.load` reads.
        split: "train", "validation" or "test".
        batch_size: Examples at a time; the results do not depend on it.
        known: The fingerprint of the data that the network was trained on, if the data should be
            the same. If they differ, the given data are evaluated, with a warning.

    Returns:
        The split and what was evaluated, the mean "loss", and `"tasks": {task: {metric: value}}`;
        "signatures" describes how the workload's own scores were computed, if it has any, and
        "other_data" the differences from the known data.

    Raises:
        ValueError: If an argument is out of range, or the network cannot be loaded or does not
            fit the workload.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be 1 or more. Received: batch_size={batch_size}")
    network = export.load(saved_model)
    data = workload()
    examples = _split(data, split, batch_size)
    export.check_inputs(network, batch.inputs_of(examples.element_spec))
    data.check(network)
    model = MultiTaskModel(network, data.tasks)
    model.compile()
    logs = model.evaluate(examples, verbose=0, return_dict=True)
    logs.update(results.as_logs(data.scores(network, split)))
    about: dict[str, Any] = {"workload": data.name, "split": split}
    about["saved_model"] = str(saved_model)
    if others := _other_data(data, known):
        about["other_data"] = others
    if data.signatures:
        about["signatures"] = dict(data.signatures)
    return {**about, **results.by_task(logs, model.task_names, "test")}


def launch(
    files: Sequence[str],
    bindings: Sequence[str],
    path: str | Path,
    split: str,
    run_folder: Path | None = None,
    trust: bool = False,
) -> dict[str, Any]:
    """Evaluates on the workload of a run's configuration, on one device.

    Args:
        files: Gin files; later files override earlier ones.
        bindings: Gin statements that override the files.
        path: The export; see `evaluate`.
        split: See `evaluate`.
        run_folder: The folder of the run, if `files` are the run's own configuration.
        trust: Whether such a configuration may use any names, as other `files` may.

    Returns:
        See `evaluate`.

    Raises:
        ConfigError: If a configuration is wrong, or one that comes with the network is not trusted.
    """
    known = None if run_folder is None else _checked(run_folder, split)
    config.parse(files, bindings, trust or run_folder is None)
    config.bound(run, given=("run_dir",))  # Raises an error if something is missing.
    size = config.bound(Optimization)().batch_size
    return evaluate(config.values(run)["workload"], path, split, size, known)


def described(figures: Mapping[str, Any]) -> str:
    """Returns the results in words."""
    first = f"{figures['saved_model']} on the {figures['split']} split of {figures['workload']}:"
    loss = figures["loss"]
    mean = f"  Mean loss: {'NaN' if loss is None else f'{loss:.4f}'}"
    signatures = [f"  {name}: {text}" for name, text in figures.get("signatures", {}).items()]
    return "\n".join([first, *results.table(figures), mean, *signatures])


def _checked(run_folder: Path, split: str) -> Mapping[str, str] | None:
    """Returns the fingerprint of a finished run's data, if the run records it.

    Raises:
        ValueError: If its configuration was changed, its result belongs to another run, or its test
            is sealed.
    """
    folder = RunFolder(run_folder, {})
    result = folder.read_result() if folder.finished else {}
    if split == "test" and result.get("sealed"):
        raise ValueError(
            f"The test split of {str(run_folder)!r} is sealed: only mtk bench score measures "
            "it, once. Evaluate another split, such as --split=validation."
        )
    for description in recorded(folder.begun)[:1]:
        if "config.gin" in description.changed(run_folder):
            raise ValueError(
                f"{str(run_folder / 'config.gin')!r} was changed after the run wrote it, so it "
                "may describe another run. Give the configuration explicitly: --gin_file=FILE."
            )
        if result:
            description.check_result(result, folder.result)
    data = result.get("data")
    return data if isinstance(data, dict) else None


def _other_data(data: Workload, known: Mapping[str, str] | None) -> list[str]:
    """Returns the differences between the data and the known data, one per line."""
    differences = fingerprint.difference(known, data.fingerprint()) if known else ""
    if differences:
        warnings.warn(
            "The data differ from those of the run, so the results are not comparable with its "
            "own:\n"
            f"{differences}",
            stacklevel=3,
        )
    return [line.strip() for line in differences.splitlines()]


def _split(data: Workload, split: str, batch_size: int) -> tf.data.Dataset:
    splits = {
        "train": data.train_evaluation,
        "validation": data.validation,
        "test": data.test,
    }
    if split not in splits:
        raise ValueError(f"`split` must be one of {list(splits)}. Received: {split!r}")
    return splits[split](batch_size)
