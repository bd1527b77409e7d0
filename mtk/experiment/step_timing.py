"""Takes a few steps of a run to measure their memory and time."""

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
_ENOUGH = 60.0  # seconds after which fewer steps suffice
# Parameters times examples: below this, memory is not short, and a trial step takes long.
_MUCH = 1e9
_PART = 8  # Divisor of the batch for the step from which memory is estimated.
_SHARE = 0.75  # of the free memory, for a step: it is an estimate, and others need some too


class Timed(NamedTuple):
    """The measured time and memory of steps.

    Attributes:
        batch_size: Examples per step.
        seconds: Median time of a step.
        first: Seconds of the first step.
        memory: Bytes in use at the peak, and before the first step; None if unknown.
        measured_on: The device of the memory: the process, or a GPU.
    """

    batch_size: int
    seconds: float
    first: float
    memory: tuple[int, int] | None
    measured_on: str


def fitting(model: MultiTaskModel, data: Workload, plan: Plan) -> int:
    """Returns the batch size of a run, halved until a step fits into the free memory.

    A part of that memory is left for others. The memory of a step is measured with an eighth of a
    batch, and assumed to grow with the number of examples.

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
        size: Examples per step.

    Raises:
        ValueError: If such a batch cannot be made or divided, or the data has too few batches.
    """
    data.steps_per_epoch(size)  # Raises an error if the size is wrong.
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
    """Returns the free memory in bytes; None if steps run elsewhere, or it is unknown."""
    if tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"):
        return None
    return min(filter(None, (_free_in_machine(), _free_in_container())), default=None)


def _free_in_machine() -> int | None:
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Returns the bytes that the control group (version 2) leaves; None if it has no limit."""
    try:
        limit, used = ((group / f"memory.{what}").read_text() for what in ("max", "current"))
        return max(1, int(limit) - int(used))
    except (OSError, ValueError):  # No such group, or "max".
        return None


class _Stopwatch(keras.callbacks.Callback):
    """Measures the time of each step, and stops the training after enough steps."""

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
        # The graph is traced before the first step.
        self.model.stop_training = len(self.seconds) > 1 and sum(self.seconds) > _ENOUGH
