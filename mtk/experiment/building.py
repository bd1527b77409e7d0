"""Builds data and model of a run from its arguments."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from mtk import display, distribution
from mtk.callbacks.monitored import monitor_of
from mtk.combiners import Combiner
from mtk.experiment import supply
from mtk.experiment.callables import called
from mtk.experiment.options import Numerics, Optimization, Precision, Sharing, Training
from mtk.experiment.plan import Plan, make_plan
from mtk.monitor import Monitor
from mtk.tasks import check_files
from mtk.trainer import MultiTaskModel
from mtk.trainer.compile_args import averages
from mtk.workloads import Workload


@dataclass(frozen=True)
class Built:
    """The parts that a run trains, its plan and its monitor.

    Attributes:
        data: The workload.
        model: The compiled model.
        plan: Steps and evaluations.
        monitor: The monitor by which validation selects.
        optimization: How a step changes the weights.
    """

    data: Workload
    model: MultiTaskModel
    plan: Plan
    monitor: Monitor
    optimization: Optimization

    def batches(self, first_step: int = 0) -> tf.data.Dataset:
        """Returns the training batches from a step on."""
        return self._from(first_step) if first_step else self._all

    # The same data set is checked and trained on: tracing a pipeline takes as long as many steps.
    @functools.cached_property
    def _all(self) -> tf.data.Dataset:
        return self._from(0)

    def _from(self, first_step: int) -> tf.data.Dataset:
        plan = self.plan
        return self.data.train(plan.batch_size, plan.steps, plan.seed, first_step)

    def check(self) -> None:
        """Checks that the model fits the batches.

        Raises:
            ValueError: If the model does not fit.
        """
        self.model.check(self.batches())


@contextlib.contextmanager
def started(training: Training, numerics: Numerics) -> Iterator[tf.distribute.Strategy]:
    """Seeds the random generators, and yields the strategy of a run.

    Without `deterministic`, some operations (sums by several threads, on GPUs most of them) add up
    in any order. A process cannot leave TensorFlow's deterministic mode again.

    Args:
        training: How long to train, with the seed.
        numerics: Precision and devices.
    """
    keras.utils.set_random_seed(training.seed)
    if numerics.deterministic:
        tf.config.experimental.enable_op_determinism()
    # This comes first: workers must know one another before TensorFlow does anything.
    devices = numerics.strategy()
    with distribution.peers_watched(devices):
        yield devices


def build(
    devices: tf.distribute.Strategy,
    workload: Callable[[], Workload],
    training: Training,
    combiner: Callable[[], Combiner],
    sharing: Sharing,
    optimization: Optimization,
    numerics: Numerics,
) -> Built:
    """Builds data and model of a run inside a strategy's scope.

    Args:
        devices: The strategy.
        workload: See `mtk.experiment.run`, as for the other arguments.
        training: How long to train.
        combiner: Factory of the combiner.
        sharing: Which variables tasks share.
        optimization: How a step changes the weights.
        numerics: Precision and devices.

    Raises:
        ValueError: If the arguments do not fit one another.
    """
    with devices.scope(), _computing_in(numerics.precision):
        with display.stage("Reading the data"):
            data = _made(workload, Workload, "workload")
        check_files(data.tasks)
        plan = make_plan(data, optimization.batch_size, training)
        model = MultiTaskModel(
            data.network(training.seed),
            data.tasks,
            _made(combiner, Combiner, "combiner"),
            gradients=sharing.gradients,
            shared=sharing.shared,
            heads=sharing.heads,
            representation=sharing.representation,
        )
        model.compile(
            optimization.make(plan.steps_per_epoch),
            weight_decay=optimization.weight_decay,
            clip_norm=optimization.clip_norm,
            jit_compile=numerics.jit_compile,
            micro_batches=numerics.micro_batches,
            on_nonfinite=numerics.on_nonfinite,
        )
        if averages(model.optimizer):
            warnings.warn(
                "The optimizer averages the weights (`use_ema`), but the selected network, "
                "which is evaluated and exported, has the weights of its step, not the averages. "
                "Set `ema_overwrite_frequency` to overwrite the weights by the averages during "
                "training.",
                stacklevel=2,
            )
    monitor = monitor_of(training.monitor, model)
    built = Built(data, model, plan, monitor, optimization)
    supply.check(data, plan, built.batches())
    return built


@contextlib.contextmanager
def _computing_in(precision: Precision) -> Iterator[None]:
    """Sets Keras' dtype policy for the layers built inside, and restores the previous one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _made(factory: Callable[[], Any], kind: type, name: str) -> Any:
    """Calls a factory that was given as an argument of `run`."""
    if isinstance(factory, kind):
        raise ValueError(
            f"`{name}` must be a class or a function that returns a {kind.__name__}, not called "
            f"yet. Received: a {type(factory).__name__}"
        )
    made = called(name, factory)
    if not isinstance(made, kind):
        raise ValueError(
            f"`{name}` must return a {kind.__name__}, such as those in mtk.{name}s. Received: "
            f"{getattr(factory, '__name__', factory)}, which returns a {type(made).__name__}"
        )
    return made
