"""What an exported network reaches on a split of a workload."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtk import config, export
from mtk.experiment import results, run
from mtk.trainer import MultiTaskModel, batch
from mtk.workloads import Workload


def evaluate(
    workload: Callable[[], Workload],
    saved_model: str | Path,
    split: str = "test",
    batch_size: int = 256,
) -> dict[str, Any]:
    """Evaluates an exported network, by the same losses and metrics as in training.

    Args:
        workload: Factory of the tasks and their data.
        saved_model: What `mtk.export.load` reads.
        split: "train", "validation" or "test".
        batch_size: Examples at a time; the figures do not depend on it.

    Returns:
        The split and what was evaluated, the mean "loss", and `"tasks": {task: {metric: value}}`;
        "signatures" says how scores of the workload's own were computed, where it has any.

    Raises:
        ValueError: If an argument is out of range, or the network cannot be loaded or does not
            fit the workload.
    """
    if batch_size < 1:
        raise ValueError(f"A batch has at least one example. Received: batch_size={batch_size}")
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
    if data.signatures:
        about["signatures"] = dict(data.signatures)
    return {**about, **results.by_task(logs, model.task_names, "test")}


def launch(
    files: Sequence[str], bindings: Sequence[str], path: str | Path, split: str
) -> dict[str, Any]:
    """Evaluates on what a configuration of a run describes, on one device.

    Args:
        files: Gin files, the later overlaying the earlier.
        bindings: Gin statements that overlay the files.
        path: As `evaluate` reads it.
        split: As in `evaluate`.

    Returns:
        As `evaluate`.
    """
    config.parse(files, bindings)
    config.bound(run, given=("run_dir",))  # Raises what is missing.
    values = config.values(run)
    default = inspect.signature(run).parameters["batch_size"].default
    return evaluate(values["workload"], path, split, values.get("batch_size", default))


def described(figures: Mapping[str, Any]) -> str:
    """Returns the figures in words."""
    first = f"{figures['saved_model']} on the {figures['split']} split of {figures['workload']}:"
    loss = figures["loss"]
    mean = f"  Mean loss: {'no number' if loss is None else f'{loss:.4f}'}"
    signatures = [f"  {name}: {text}" for name, text in figures.get("signatures", {}).items()]
    return "\n".join([first, *results.table(figures), mean, *signatures])


def _split(data: Workload, split: str, batch_size: int) -> tf.data.Dataset:
    splits = {
        "train": data.train_evaluation,
        "validation": data.validation,
        "test": data.test,
    }
    if split not in splits:
        raise ValueError(f"A split is one of {list(splits)}. Received: {split!r}")
    return splits[split](batch_size)
