"""Properties of a model that are measured before its runs are planned."""

import math
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from multiprocessing.connection import Connection
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mtk import combiners
from mtk.callbacks.monitored import monitor_of
from mtk.combiners import Combiner
from mtk.comparison.given import optimizer, scale_of, settings_of, weights_of, workload
from mtk.experiment.options import Sharing
from mtk.monitor import MEAN_LOSS, RELATIVE_LOSS
from mtk.study.engines.local import may_fork
from mtk.trainer import MultiTaskModel
from mtk.workloads import Workload

_STEPS = 10
Makers: TypeAlias = Mapping[str, Callable[[], Combiner]]
_NONE: Makers = MappingProxyType({})


class Look(NamedTuple):
    """Measured properties of a model.

    Attributes:
        tasks: Names of the tasks.
        learning_rate: The compiled learning rate, which applies to the model's sum of the losses.
        is_linear: Whether a step is proportional to the loss, as in SGD; the learning rate for the
            mean of the losses is then that of their sum times `scale`.
        losses: Losses of the untrained network on the validation split, by task.
        examples: Number of examples in the training split.
        start: Seconds until the first step.
        step: Seconds of a step with static weights, and of one with task gradients.
        evaluation: Seconds of an evaluation.
        monitor: The monitor that is passed to the runs.
        loss_weights: The compiled loss weights in the order of the tasks; None without any.
        selects: The name of the monitor, such as "mean_loss".
        added: Static weights to try in addition to the usual ones, in the order of the tasks.
        scale: The sum of the weights in the model's sum of the losses.
        settings: Other settings of all runs; see `mtk.comparison.given.settings_of`.
    """

    tasks: list[str]
    learning_rate: float
    is_linear: bool
    losses: Mapping[str, float]
    examples: int
    start: float
    step: tuple[float, float]
    evaluation: float
    monitor: Any = None
    loss_weights: Sequence[float] | None = None
    selects: str = ""
    added: Sequence[Sequence[float]] = ()
    scale: float = 1.0
    settings: Mapping[str, Any] | None = None

    @property
    def outweighing(self) -> str | None:
        """The task with the largest loss, if it is more than ten times the smallest one."""
        known = {name: loss for name, loss in self.losses.items() if 0 < loss < math.inf}
        largest = max(known, key=known.__getitem__, default=None)
        return largest if largest and known[largest] > 10 * min(known.values()) else None


def look(key: str, batch_size: int, monitor: Any = None, methods: Makers = _NONE) -> Look:
    """Builds the model and takes a few steps, in a separate process if possible.

    TensorFlow then starts no threads in this process, so that it can be forked for the runs.

    Args:
        key: The return value of `Given.key`.
        batch_size: Examples per step.
        monitor: The monitor: `{task: metric}`, or a form of `mtk.monitor.resolve`.
        methods: Factories of the methods, by label; each takes a step too.

    Raises:
        ValueError: If the model does not measure the monitor, or cannot be trained on the data or
            with one of the methods.
    """
    if not may_fork():
        return _look(key, batch_size, monitor, methods)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_send, args=(key, batch_size, monitor, methods, sender), daemon=True
    )
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        raise ValueError(
            "The process that tried out the model ended unexpectedly, possibly for lack of memory."
        ) from None
    finally:
        process.join()
    if isinstance(found, Exception):
        raise ValueError(f"The model cannot be compared: {found}") from found
    return found


def _send(key: str, batch_size: int, monitor: Any, methods: Makers, sender: Connection) -> None:
    try:
        sender.send(_look(key, batch_size, monitor, methods))
    except Exception as error:  # The parent process raises it.
        name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        sender.send(ValueError(f"{name}{error}"))


def _look(key: str, batch_size: int, monitor: Any, methods: Makers = _NONE) -> Look:
    data = workload(key)
    if batch_size > data.num_train:
        raise ValueError(
            f"`batch_size` must be at most the number of training examples, {data.num_train}. "
            f"Received: batch_size={batch_size}"
        )
    compiled = optimizer(key, None)
    names, settings = [task.name for task in data.tasks], settings_of(key)
    batches = data.train(batch_size, 2 * _STEPS + 1, seed=0)
    steps, started = [], time.monotonic()
    losses: dict[str, float] = {}
    start = evaluation = 0.0
    for combiner in (combiners.StaticWeights(), combiners.MGDA()):
        rate = float(compiled.get_config()["learning_rate"])
        model = _model(data, combiner, optimizer(key, rate), settings)
        selects = monitor_of(monitor, model).name
        if not losses:
            logs = model.evaluate(data.validation(batch_size), verbose=0, return_dict=True)
            losses = {name: float(logs[f"{name}_loss"]) for name in names}
            if wrong := [name for name, loss in losses.items() if not math.isfinite(loss)]:
                raise ValueError(
                    "the validation loss of the untrained network is infinite or NaN for "
                    f"{wrong}. Check these losses and the data, in particular whether the "
                    "validation split has labels for these tasks."
                )
        model.fit(batches.take(1), shuffle=False, verbose=0)
        start = start or time.monotonic() - started
        before = time.monotonic()
        model.fit(batches.skip(1), shuffle=False, verbose=0)
        steps.append((time.monotonic() - before) / (2 * _STEPS))
        if not evaluation:
            before = time.monotonic()
            model.evaluate(data.validation(batch_size), verbose=0)
            evaluation = time.monotonic() - before
    for label, make in methods.items():
        _try(label, make, data, optimizer(key, rate), settings, batches)
    is_linear = isinstance(compiled, keras.optimizers.SGD)
    about = (names, rate, is_linear, losses, data.num_train)
    times = (start, (steps[0], steps[1]), evaluation)
    found = Look(*about, *times, monitor, weights_of(key), selects)
    found = found._replace(scale=scale_of(key), settings=settings)
    if monitor is None and selects == MEAN_LOSS and found.outweighing:
        found = found._replace(monitor=RELATIVE_LOSS, selects=RELATIVE_LOSS)
    if found.selects == RELATIVE_LOSS and (zero := [n for n in names if losses[n] == 0]):
        raise ValueError(
            f"the validation losses of {zero} are zero before training, so relative losses are "
            "undefined. If this is intended, use monitor='mean_loss'."
        )
    return found


def _model(
    data: Workload,
    combiner: Combiner,
    optimizer: keras.optimizers.Optimizer,
    settings: Mapping[str, Any],
) -> MultiTaskModel:
    """Builds and compiles a model as in the runs."""
    own = {name.rpartition(".")[2]: value for name, value in settings.items()}
    structure = {f.name: own.pop(f.name) for f in fields(Sharing) if f.name in own}
    model = MultiTaskModel(data.network(0), data.tasks, combiner, **structure)
    model.compile(optimizer, **own)
    return model


def _try(
    label: str,
    make: Callable[[], Combiner],
    data: Workload,
    optimizer: keras.optimizers.Optimizer,
    settings: Mapping[str, Any],
    batches: tf.data.Dataset,
) -> None:
    """Takes a step with a method, so that errors are found before the first run."""
    try:
        model = _model(data, make(), optimizer, settings)
        model.fit(batches.take(1), shuffle=False, verbose=0)
    except Exception as error:  # Any error would occur in each run of the method.
        name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{label} cannot train this model: {name}{error}") from error
