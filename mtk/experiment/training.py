"""The course of a run: fit, select, test, export, result."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk import callbacks, disk
from mtk.experiment import hparams, manifest, method, rehearsal, test_examples
from mtk.experiment.checkpointing import Checkpointing
from mtk.experiment.fitting import Fitting
from mtk.experiment.interruption import InterruptedRunError, Interruption, StopEvaluation
from mtk.experiment.plan import Plan
from mtk.experiment.results import as_logs, by_task
from mtk.experiment.run_folder import RunFolder
from mtk.export import export, export_module, save_keras
from mtk.monitor import Monitor
from mtk.trainer import MultiTaskModel, batch
from mtk.workloads import Workload

_GRAPH_BYTES = 1 << 18  # what an export holds besides the variables, at least


class Watchers(NamedTuple):
    """The callbacks whose findings outlive `fit`."""

    board: callbacks.TaskBoard
    log: callbacks.MetricsLog
    selection: callbacks.Selection
    divergence: callbacks.Divergence


def watch(
    plan: Plan,
    folder: RunFolder,
    log_every: int,
    measure_every: int | None,
    monitor: Monitor | None = None,
) -> Watchers:
    """Makes the callbacks of a run; nothing is written yet.

    Args:
        plan: Steps and evaluations.
        folder: The run folder.
        log_every: Steps between two points of a curve.
        measure_every: Steps between two measurements of gradients; see `TaskBoard`.
        monitor: What validation selects by; see `Selection`.

    Raises:
        ValueError: If a number is out of range.
    """
    if log_every < 1:  # The board would name its own argument, which is another.
        raise ValueError(f"`log_every` is a number of steps, 1 or more. Received: {log_every}")
    return Watchers(
        callbacks.TaskBoard(folder.tensorboard, log_every, measure_every),
        callbacks.MetricsLog(folder.metrics),
        callbacks.Selection(folder.selected, plan.patience, monitor, restore=False),
        callbacks.Divergence(),
    )


def profile(
    plan: Plan, folder: RunFolder, window: tuple[int, int] | None
) -> callbacks.Profile | None:
    """Makes the callback that records steps for the profiler, if any are asked for.

    Args:
        plan: Steps and evaluations.
        folder: The run folder.
        window: The first and the last step.

    Raises:
        ValueError: If the steps are not in order, or the run has fewer.
    """
    if window is None:
        return None
    if window[1] > plan.steps:
        raise ValueError(
            f"The steps to profile, {window[0]}:{window[1]}, reach beyond the run's {plan.steps}. "
            "Choose earlier ones: --profile_steps=FIRST:LAST."
        )
    return callbacks.Profile(folder.tensorboard, *window)


def train(
    model: MultiTaskModel,
    data: Workload,
    plan: Plan,
    watchers: Watchers,
    checkpointing: Checkpointing,
    profile: callbacks.Profile | None = None,
    further: Sequence[keras.callbacks.Callback] = (),
) -> dict[str, Any]:
    """Trains a compiled model, from the newest checkpoint on, and completes the run folder.

    Args:
        model: The model.
        data: The workload.
        plan: Steps and evaluations.
        watchers: The callbacks.
        checkpointing: What saves the run to its opened folder.
        profile: What records steps for the profiler, if anything does.
        further: Callbacks of the user's.

    Returns:
        What `result.json` holds; or the status "interrupted" if a signal has ended this process.
    """
    folder, interruption = checkpointing.folder, checkpointing.interruption
    position = checkpointing.restore(model)
    if profile is not None and profile.last <= position.step:
        warnings.warn(
            f"Nothing is recorded for the profiler: the run goes on after step {position.step}, "
            f"and the steps {profile.first}:{profile.last} are past. Choose later ones: "
            "--profile_steps=FIRST:LAST.",
            stacklevel=2,
        )
    facts = {
        "variables": rehearsal.sharing(model),
        "method": method.describe(model, data),
        "data": dict(folder.description.data),
    }
    manifest.begin(folder.manifest, plan.seed, position.step, facts)
    pictures = callbacks.Pictures(watchers.board.curves, data.pictures)
    shown = [*watchers, pictures]
    fitting = Fitting(model, data, plan, shown, checkpointing, profile, further)
    try:
        fitting.go_on(position)
        checkpointing.complete()
        manifest.end(folder.manifest, fitting.throughput.report(checkpointing.held_up))
        if watchers.divergence.found_at is None:
            result = _finish(model, data, plan, watchers, interruption)
            # All of it on one device: no more examples at a time than a step has there.
            size = -(-plan.batch_size // model.distribute_strategy.num_replicas_in_sync)
            test = data.test(size)
            test_examples.write(model, test, folder, result["test"], interruption)
            _export(model.network, data, plan, folder)
        else:
            result = _diverged(model, watchers)
        hparams.write(folder, result)
        result = folder.close(result)
        checkpointing.forget_damaged()
    except InterruptedRunError:
        manifest.end(folder.manifest, fitting.throughput.report(checkpointing.held_up))
        return {"status": "interrupted", "steps": checkpointing.step}
    except OSError as error:
        raise folder.stopped_by(error) from error
    finally:
        checkpointing.close()
    return result


def _finish(
    model: MultiTaskModel,
    data: Workload,
    plan: Plan,
    watchers: Watchers,
    interruption: Interruption,
) -> dict[str, Any]:
    """Measures train at the final step, then test at the selected one, and leaves its weights."""
    selection, last = watchers.selection, watchers.selection.step
    stop = [StopEvaluation(interruption)]

    def evaluate(batches: Any) -> dict[str, float]:
        return model.evaluate(batches, callbacks=stop, verbose=0, return_dict=True)

    train_logs = evaluate(data.train_evaluation(plan.batch_size))
    selection.restore()
    selected = selection.selected_step
    if selected is None:
        raise ValueError(
            f"No evaluation had a finite {selection.compared.name!r}, so there is no step to "
            "select, though the training itself did not diverge. Choose another `monitor`."
        )
    test_logs = evaluate(data.test(plan.batch_size))
    scores = _scores(model, data, interruption)
    test_logs.update(scores["test"])
    watchers.log.write("train_final", train_logs, last)
    watchers.log.write("validation", scores["validation"], selected)
    watchers.log.write("test", test_logs, selected)
    watchers.log.flush()
    watchers.board.write("test", test_logs, selected)
    watchers.board.flush()
    names = model.task_names
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
        "test": by_task(test_logs, names, "test"),
        "validation": by_task({**selection.selected_logs, **validation_logs}, names, "validation"),
        "train": by_task(train_logs, names, "train"),
        **signatures,
    }


def _number_of_examples(examples: Iterable[Any]) -> int:
    """Counts what batches hold; in a batch of shares each task has its own."""
    shares = (list(b.values()) if isinstance(b, dict) else [b] for b in examples)
    return sum(len(tf.nest.flatten(share)[0]) for batch in shares for share in batch)


def _scores(
    model: MultiTaskModel, data: Workload, interruption: Interruption
) -> dict[str, dict[str, float]]:
    """Returns the workload's scores of validation and test, named as the logs of Keras are."""
    found = {}
    for split in ("validation", "test"):
        interruption.check()
        found[split] = as_logs(data.scores(model.network, split))
    return found


def _export(network: keras.Model, data: Workload, plan: Plan, folder: RunFolder) -> None:
    served = data.serving(network)
    size = sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in network.variables)
    needed = (2 + len(served)) * (size + _GRAPH_BYTES)
    disk.require(folder.path, needed, "saved_model and model.keras")
    spec = data.validation(plan.batch_size).element_spec
    export(network, folder.saved_model, batch.inputs_of(spec))
    save_keras(network, folder.keras_file)
    for name, module in served.items():
        export_module(module, folder.further_saved_model(name))


def _diverged(model: MultiTaskModel, watchers: Watchers) -> dict[str, Any]:
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


def _skipped(model: MultiTaskModel) -> int:
    # Over several replicas a variable is many; this takes the first.
    return int(keras.ops.convert_to_numpy(model.skipped_steps))
