"""What a run would be: its size and the time of a step, before it is started."""

import statistics
import time
from typing import Any

import keras
import tensorflow as tf

from mtk import config, gradients
from mtk.distribution import Workers
from mtk.experiment.plan import Plan
from mtk.trainer import MultiTaskModel
from mtk.workloads import Workload

_TIMED = 7  # steps, the first of them traced


class _Stopwatch(keras.callbacks.Callback):
    """Takes the time of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self._start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        del batch
        float((logs or {})["loss"])  # Waits until the step is done.
        self.seconds.append(time.monotonic() - self._start)


def describe(model: MultiTaskModel, data: Workload, plan: Plan) -> str:
    """Makes a few steps of a run and describes it.

    Args:
        model: The compiled model; the steps change it.
        data: The workload.
        plan: Steps and evaluations.

    Returns:
        The configuration in force, the model's size, how its variables are shared, tasks, steps,
        and the time of a step.
    """
    batches = data.train(plan.batch_size, max(plan.steps, _TIMED), plan.seed).take(_TIMED)
    model.check(batches)
    stopwatch = _Stopwatch()
    model.fit(batches, epochs=1, callbacks=[stopwatch], shuffle=False, verbose=0)
    first, *others = stopwatch.seconds
    step = statistics.median(others)
    lines = [
        config.operative().strip(),
        "",
        f"# {data.name}: {data.num_train} training examples; nothing was written.",
        *_size(model),
        *_devices(model, plan.batch_size),
        f"tasks               {', '.join(model.task_names)}",
        f"combiner            {type(model.combiner).__name__}",
        f"per-task gradients  {_way(model, isinstance(batches.element_spec, dict))}",
        f"steps               {plan.steps} ({plan.steps / plan.steps_per_epoch:g} epochs of "
        f"{plan.steps_per_epoch}), {plan.batch_size} examples each",
        f"evaluation          every {plan.evaluate_every} steps, {plan.evaluations} times",
        f"one step            {1000 * step:.1f} ms (the first, traced: {first:.1f} s)",
        f"all steps           about {step * plan.steps / 60:.1f} min, without evaluations",
    ]
    return "\n".join(lines)


def _devices(model: MultiTaskModel, batch_size: int) -> list[str]:
    strategy = model.distribute_strategy
    replicas = strategy.num_replicas_in_sync
    workers = Workers(strategy)
    if strategy is tf.distribute.get_strategy():  # The default one, which does not tell.
        own = [tf.zeros(()).device]
    else:
        own = list(strategy.extended.worker_devices)
    return [
        f"strategy            {type(strategy).__name__}: {workers.number} worker(s), "
        f"{replicas} replica(s), {batch_size // replicas} examples each",
        f"  devices here      {', '.join(own)}",
    ]


def _size(model: MultiTaskModel) -> list[str]:
    structure = model.structure
    lines = [
        f"parameters          {model.network.count_params():,} "
        f"({_count(model.network.trainable_variables)} trainable)",
        f"  shared            {_count(structure.shared)}",
    ]
    lines += [f"  head {name:<12} {_count(owned)}" for name, owned in structure.heads.items()]
    if structure.unreached:
        paths = ", ".join(variable.path for variable in structure.unreached)
        lines.append(f"  NOT TRAINED       {_count(structure.unreached)}: no task reaches {paths}")
    return lines


def _count(variables: list[keras.Variable]) -> str:
    total = sum(int(keras.ops.size(variable)) for variable in variables)
    return f"{total:,} in {len(variables)} variables"


def _way(model: MultiTaskModel, own_inputs: bool) -> str:
    if model.combiner.reads == "losses":
        return "none: one backward pass"
    way = gradients.choose(model.gradients, len(model.tasks), shared_input=not own_inputs)
    return f"{way}, at {model.combiner.at}"
