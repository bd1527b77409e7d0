"""The end of a run: its final results, and the files for serving."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk import callbacks, resources
from mtk.experiment.building import Built
from mtk.experiment.preemption import Preemption, StopEvaluation
from mtk.experiment.results import as_logs, by_task
from mtk.experiment.run_folder import RunFolder
from mtk.export import export, export_module, save_keras
from mtk.trainer import MultiTaskModel, batch
from mtk.workloads import Workload

_GRAPH_BYTES = 1 << 18  # smallest size of an export besides the variables


class Watchers(NamedTuple):
    """The callbacks whose results are used after `fit`."""

    board: callbacks.TaskBoard
    log: callbacks.MetricsLog
    selection: callbacks.BestCheckpoint
    divergence: callbacks.TerminateOnNonFinite


def finish(built: Built, watchers: Watchers, preemption: Preemption) -> dict[str, Any]:
    """Measures train at the final step, then test at the selected one, whose weights it keeps.

    A sealed test is not measured.

    Args:
        built: What was trained.
        watchers: The callbacks with their results.
        preemption: The handler of signals; a signal stops the measurement between two batches.

    Returns:
        The content of `result.json` for a finished run.

    Raises:
        ValueError: If there is no step to select.
    """
    model, data, plan = built.model, built.data, built.plan
    selection, last = watchers.selection, watchers.selection.step
    stop = [StopEvaluation(preemption)]

    def evaluate(batches: Any) -> dict[str, float]:
        return model.evaluate(batches, callbacks=stop, verbose=0, return_dict=True)

    train_logs = evaluate(data.train_evaluation(plan.batch_size))
    selection.restore()
    selected = selection.selected_step
    if selected is None:
        raise ValueError(
            f"No evaluation had a finite {selection.compared.name!r}, so no step can be "
            "selected, although the training did not diverge. Choose another `monitor`, or provide "
            "validation labels: a task without validation labels has no validation loss."
        )
    test_logs = {} if plan.sealed else evaluate(data.test(plan.batch_size))
    scores = _scores(model, data, preemption, ("validation", *([] if plan.sealed else ["test"])))
    test_logs.update(scores.get("test", {}))
    watchers.log.write("train_final", train_logs, last)
    watchers.log.write("validation", scores["validation"], selected)
    watchers.log.write("test", test_logs, selected)
    watchers.log.flush()
    watchers.board.write("test", test_logs, selected)
    watchers.board.flush()
    names = model.task_names
    test = {"sealed": True} if plan.sealed else {"test": by_task(test_logs, names, "test")}
    validation_logs = {f"val_{name}": value for name, value in scores["validation"].items()}
    signatures = {"signatures": dict(data.signatures)} if data.signatures else {}
    return {
        "status": "finished",
        "parameters": model.network.count_params(),
        "train_examples": data.num_train,
        "validation_examples": _number_of_examples(data.validation(plan.batch_size)),
        "test_examples": _number_of_examples(data.test(plan.batch_size)),
        "steps": last,
        "skipped_steps": _skipped(model),
        "selected_step": selected,
        "monitor": selection.record,
        **test,
        "validation": by_task({**selection.selected_logs, **validation_logs}, names, "validation"),
        "train": by_task(train_logs, names, "train"),
        **signatures,
    }


def export_all(built: Built, folder: RunFolder) -> None:
    """Exports the network for serving.

    Args:
        built: What was trained, with the weights to export.
        folder: The run folder.

    Raises:
        OSError: If there is not enough disk space.
    """
    network = built.model.network
    served = built.data.serving(network)
    size = sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in network.variables)
    needed = (2 + len(served)) * (size + _GRAPH_BYTES)
    resources.require(folder.path, needed, "saved_model and model.keras")
    spec = built.data.validation(built.plan.batch_size).element_spec
    # Tasks made by `compile` are named after the outputs; others only have their order.
    has_order = all(task.path is None for task in built.model.tasks)
    names = built.model.task_names if has_order else None
    export(network, folder.saved_model, batch.inputs_of(spec), names=names)
    save_keras(network, folder.keras_file)
    for name, module in served.items():
        export_module(module, folder.further_saved_model(name))


def diverged(model: MultiTaskModel, watchers: Watchers) -> dict[str, Any]:
    """Returns the content of `result.json` for a run that has diverged.

    Args:
        model: What was trained.
        watchers: The callbacks with their results.
    """
    selection, divergence = watchers.selection, watchers.divergence
    return {
        "status": "diverged",
        "steps": divergence.found_at,
        "skipped_steps": _skipped(model),
        "task": divergence.task or None,
        "selected_step": selection.selected_step,
        "monitor": selection.record,
        "validation": by_task(selection.selected_logs, model.task_names, "validation"),
    }


def _number_of_examples(examples: Iterable[Any]) -> int:
    """Counts the examples of batches; in a batch of shares, each task has its own examples."""
    shares = (list(b.values()) if isinstance(b, dict) else [b] for b in examples)
    return sum(len(tf.nest.flatten(share)[0]) for batch in shares for share in batch)


def _scores(
    model: MultiTaskModel, data: Workload, preemption: Preemption, splits: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Returns the workload's scores of each split, named as in Keras' logs."""
    found = {}
    for split in splits:
        preemption.check()
        found[split] = as_logs(data.scores(model.network, split))
    return found


def _skipped(model: MultiTaskModel) -> int:
    # With several replicas, a variable has several copies; this takes the first.
    return int(keras.ops.convert_to_numpy(model.skipped_steps))
