"""A few steps of a run to see what they need: memory, and time."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from mtk.experiment import peak_memory
from mtk.experiment.plan import Plan
from mtk.experiment.supply import ExhaustedDataError
from mtk.trainer import MultiTaskModel
from mtk.workloads import Workload

_TIMED = 7  # steps
_ENOUGH = 60.0  # seconds after which fewer will do
# Parameters times examples: where they are fewer, memory is not short, and a trial takes long.
_MUCH = 1e9
_PART = 8  # A step with this part of a batch tells what a whole one needs.
_SHARE = 0.75  # of the free memory that a step may take: it is a guess, and others need some too


class Timed(NamedTuple):
    """How long steps took, and what they took.

    Attributes:
        batch_size: Their examples.
        seconds: A step's time, the median.
        first: Seconds of the first step.
        memory: Bytes in use at most, and before the first step; None where that is not known.
        measured_on: What uses them: the process, or a GPU.
    """

    batch_size: int
    seconds: float
    first: float
    memory: tuple[int, int] | None
    measured_on: str


def fitting(model: MultiTaskModel, data: Workload, plan: Plan) -> int:
    """Returns the size of a run's batches, halved until a step fits into the memory that is free.

    A part of that is left for others. What a step needs is measured with an eighth of a batch, and
    taken to grow with the examples.

    Args:
        model: The compiled model; steps change it.
        data: The workload.
        plan: Steps and batches of the run.
    """
    size, room = plan.batch_size, _free()
    if model.network.count_params() * size < _MUCH or room is None:
        return size
    parts = model.distribute_strategy.num_replicas_in_sync * model.compile_args.micro_batches
    small = size // _PART // parts * parts
    if small == 0:
        return size
    measured = steps(model, data, plan, small).memory
    if measured is None:
        return size
    each = (measured[0] - measured[1]) / small
    while each * size > _SHARE * room and size % (2 * parts) == 0:
        size //= 2
    return size


def steps(model: MultiTaskModel, data: Workload, plan: Plan, size: int) -> Timed:
    """Takes a few steps, which change the model.

    Args:
        model: The compiled model.
        data: The workload.
        plan: Steps of the run.
        size: Examples of a step.

    Raises:
        ValueError: If such a batch cannot be made or divided, or fewer come than are asked for.
    """
    data.steps_per_epoch(size)  # Raises what is wrong with the size.
    batches = data.train(size, max(plan.steps, _TIMED), plan.seed).take(_TIMED)
    model.check(batches)
    stopwatch, used = _Stopwatch(), peak_memory.Peak()
    model.fit(batches, epochs=1, callbacks=[stopwatch], shuffle=False, verbose=0)
    taken = len(stopwatch.seconds)
    if taken < _TIMED and not model.stop_training:
        raise ExhaustedDataError(
            f"The training data of {data.name!r} ended early: a dry run needs {_TIMED} batches, "
            f"but there were only {taken}. `train` must return as many batches as its argument "
            "`steps` requests."
        )
    first, *others = stopwatch.seconds
    return Timed(size, statistics.median(others), first, used.read(), used.device)


def _free() -> int | None:
    """Returns the bytes that are free; None where steps run elsewhere, or it is not known."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return None
    return min(filter(None, (_free_in_machine(), _free_in_container())), default=None)


def _free_in_machine() -> int | None:
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Returns what the control group (version 2) leaves; None where it sets no limit."""
    try:
        limit, used = ((group / f"memory.{what}").read_text() for what in ("max", "current"))
        return max(1, int(limit) - int(used))
    except (OSError, ValueError):  # No such group, or "max".
        return None


class _Stopwatch(keras.callbacks.Callback):
    """Takes the time of each step, and ends the training when there are enough."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        del batch, logs
        self._start = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        del batch
        float((logs or {})["loss"])  # Waits until the step is done.
        self.seconds.append(time.monotonic() - self._start)
        # Before the first one the graph is made ready.
        self.model.stop_training = len(self.seconds) > 1 and sum(self.seconds) > _ENOUGH
