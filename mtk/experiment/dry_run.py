"""Size, memory and time of a run, before it is started."""

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from mtk import config, display, gradients
from mtk.data import synthetic
from mtk.display import counted
from mtk.distribution import Workers
from mtk.experiment import step_timing
from mtk.experiment.plan import Plan
from mtk.monitor import Monitor
from mtk.trainer import MultiTaskModel
from mtk.workloads import Workload

_MOST_LAYERS = 5  # that are listed


def describe(
    model: MultiTaskModel,
    data: Workload,
    plan: Plan,
    monitor: Monitor,
    batch_size: int | None = None,
) -> str:
    """Takes a few steps of a run and describes it.

    Args:
        model: The compiled and checked model; the steps change it.
        data: The workload.
        plan: Steps and evaluations.
        monitor: The monitor by which validation selects.
        batch_size: Examples per step; by default those of the run, or as many as fit in memory.

    Returns:
        The configuration in force, the model's size, how its variables are shared, tasks, steps,
        memory, and the time per step.
    """
    batches = data.train(plan.batch_size, plan.steps, plan.seed)
    size = step_timing.fitting(model, data, plan) if batch_size is None else batch_size
    timed = step_timing.steps(model, data, plan, size)
    per_run = timed.seconds * plan.batch_size / timed.batch_size * plan.steps
    epochs = plan.steps / plan.steps_per_epoch
    lines = [
        config.operative().strip(),
        "",
        *_synthetic(),
        f"# {data.name}: {counted(data.num_train, 'training example')}; nothing was written.",
        *_size(model),
        *_devices(model, plan.batch_size),
        f"tasks               {', '.join(model.task_names)}",
        f"combiner            {type(model.combiner).__name__}",
        f"per-task gradients  {_way(model, isinstance(batches.element_spec, dict))}",
        f"steps               {plan.steps} ({epochs:g} epoch{'s' * (epochs != 1)} of "
        f"{plan.steps_per_epoch}), {counted(plan.batch_size, 'example')} each",
        f"evaluation          every {counted(plan.evaluate_every, 'step')}, "
        f"{counted(plan.evaluations, 'time')}",
        f"selected by         validation's {monitor.name} (best: {monitor.direction})",
        f"memory              {_memory(timed)}",
        f"one step            {_seconds(timed.seconds)} with {counted(timed.batch_size, 'example')}"
        f" (the first, with tracing: {timed.first:.1f} s)",
        f"all steps           about {display.format_duration(per_run)}, without evaluations"
        + (
            ", assuming time proportional to examples" if timed.batch_size < plan.batch_size else ""
        ),
    ]
    return "\n".join(lines)


def _synthetic() -> list[str]:
    return [
        "# SYNTHETIC DATA of the right shape (their memory is not counted) because data are "
        f"missing: {text}"
        for text in synthetic.missing()
    ]


def _memory(timed: step_timing.Timed) -> str:
    if timed.memory is None:
        return "not measured: not available on this system"
    most, before = map(_bytes, timed.memory)
    return (
        f"peak {most} with {counted(timed.batch_size, 'example')} per step, {before} before the "
        f"first step (measured, {timed.measured_on})"
    )


def _bytes(number: int) -> str:
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"


def _devices(model: MultiTaskModel, batch_size: int) -> list[str]:
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    workers = Workers(strategy)
    if strategy is tf.distribute.get_strategy():  # The default strategy does not report devices.
        own = [tf.zeros(()).device]
    else:
        own = list(strategy.extended.worker_devices)
    return [
        f"strategy            {type(strategy).__name__}: {counted(workers.number, 'worker')}, "
        f"{counted(replicas, 'replica')}, {counted(batch_size // replicas, 'example')} each",
        f"  devices here      {', '.join(own)}",
    ]


def _size(model: MultiTaskModel) -> list[str]:
    structure = model.structure
    lines = [
        f"parameters          {model.network.count_params():,} "
        f"({_count(model.network.trainable_variables)} trainable)",
        f"  shared            {_count(structure.shared)}{_layers(structure.shared)}",
    ]
    width = max([12, *map(len, structure.heads)])
    lines += [
        f"  head {name:<{width}} {_count(owned)}{_layers(owned)}"
        for name, owned in structure.heads.items()
    ]
    if structure.unowned:
        lines.append(f"  some head         {_count(structure.unowned)}{_layers(structure.unowned)}")
    if structure.unreached:
        paths = ", ".join(variable.path for variable in structure.unreached)
        lines.append(
            f"  NOT TRAINED       {_count(structure.unreached)}: no task depends on {paths}"
        )
    return lines


def sharing(model: MultiTaskModel) -> dict[str, Any]:
    """Returns where each trainable variable belongs, as found or as given, by its path.

    Args:
        model: A model that has seen a batch.
    """
    structure = model.structure
    return {
        "shared": _paths(structure.shared),
        "heads": {name: _paths(owned) for name, owned in structure.heads.items()},
        "some_head": _paths(structure.unowned),
        "not_trained": _paths(structure.unreached),
    }


def _layers(variables: Iterable[keras.Variable]) -> str:
    """Returns the first and last layers of variables, in words."""
    names = list(dict.fromkeys(variable.path.rpartition("/")[0] for variable in variables))
    if len(names) > _MOST_LAYERS:
        names = [*names[: _MOST_LAYERS - 1], "...", names[-1]]
    return f": {', '.join(names)}" if names else ""


def _paths(variables: Iterable[keras.Variable]) -> list[str]:
    return [variable.path for variable in variables]


def _count(variables: list[keras.Variable]) -> str:
    total = sum(math.prod(variable.shape) for variable in variables)
    return f"{total:,} in {counted(len(variables), 'variable')}"


def _seconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _way(model: MultiTaskModel, own_inputs: bool) -> str:
    if model.combiner.reads == "losses":
        return "none: one backward pass"
    way = gradients.choose(model.gradients, len(model.tasks), shared_input=not own_inputs)
    return f"{way}, at {model.combiner.at}"
