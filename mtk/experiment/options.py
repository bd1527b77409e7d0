"""Groups of a run's arguments other than its workload and its combiner."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import keras
import tensorflow as tf

from mtk import distribution
from mtk.experiment.callables import called
from mtk.gradients import GradientStrategy
from mtk.monitor import Monitored
from mtk.ranges import SEEDS, check_choice, check_count, check_nonnegative, check_positive
from mtk.trainer import OnNonfinite

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
TestSplit = Literal["open", "sealed"]
_Group = TypeVar("_Group")


def _public(group: type[_Group]) -> type[_Group]:
    """Names a class after its public package, in configurations and their records."""
    group.__module__ = "mtk.experiment"
    return group


@_public
@dataclass(frozen=True)
class Sharing:
    """Which variables tasks share, and how the gradients of each task are computed.

    Args:
        gradients: How to compute per-task gradients; see `mtk.gradients.choose`.
        representation: Name of the layer whose output the heads read, if it cannot be found
            automatically.
        shared: Names of layers or paths of variables that the tasks share, if they cannot be found
            automatically; see `mtk.MultiTaskModel`. `manifest.json` records the variables that were
            found or given.
        heads: The same for the head of each task, by task.
    """

    gradients: GradientStrategy = "auto"
    representation: str | None = None
    shared: Sequence[str] | None = None
    heads: Mapping[str, Sequence[str]] | None = None


@_public
@dataclass(frozen=True)
class Optimization:
    """How a step updates the weights.

    Args:
        optimizer: Factory of the optimizer, called with `learning_rate=`.
        learning_rate: Initial learning rate; with a `schedule`, the value passed to it.
        schedule: Factory of a schedule, called with `learning_rate=` and `steps_per_epoch=`; None
            keeps the learning rate.
        weight_decay: Coupled weight decay (L2 regularization).
        clip_norm: Largest global norm of the combined gradient.
        batch_size: Examples per step, over all replicas.

    Raises:
        ValueError: If a number is out of range.
    """

    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.SGD
    learning_rate: float = 0.1
    schedule: Callable[..., keras.optimizers.schedules.LearningRateSchedule] | None = None
    weight_decay: float = 0.0
    clip_norm: float | None = None
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_positive(learning_rate=self.learning_rate)
        check_nonnegative(weight_decay=self.weight_decay)
        if self.clip_norm is not None:
            check_positive(clip_norm=self.clip_norm)
        check_count(batch_size=self.batch_size)

    def make(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """Returns a new optimizer.

        Args:
            steps_per_epoch: Steps per epoch of the training split, for the schedule.
        """
        rate: Any = self.learning_rate
        if self.schedule is not None:
            steps = {"steps_per_epoch": steps_per_epoch}
            rate = called("schedule", self.schedule, learning_rate=rate, **steps)
        made: keras.optimizers.Optimizer = called("optimizer", self.optimizer, learning_rate=rate)
        return made


@_public
@dataclass(frozen=True)
class Training:
    """How long a run trains, and which of its steps is selected.

    Args:
        epochs: Length of the run in epochs of the training split; this or `steps`.
        steps: Length of the run in steps.
        evaluate_every: Steps between two evaluations; an epoch, by default.
        monitor: What validation selects by, here and among the runs of a study: `"mean_loss"`, the
            mean of the task losses; `"relative_loss"`, the mean of their ratios to those of the
            first evaluation; a metric, such as `"left_accuracy"`, or `("left_accuracy", "max")` if
            its class does not define its direction; or a mean of several metrics,
            `{"left_accuracy": "max", "right_loss": "min"}`, in which metrics of different units are
            divided by their values at the first evaluation, except metrics from 0 to 1. None means
            `"mean_loss"` if all losses are of one kind (the same class, or cross-entropies), and
            `"relative_loss"` if they have different units. See `mtk.monitor.resolve`.
        patience: Number of evaluations without improvement after which the run stops; None never
            stops it early.
        seed: Seed of the initial weights, dropout and the data order.
        test: How the test split is used: `"open"` measures it at the selected step; `"sealed"`
            stores the predictions for its inputs (`test_predictions.npz`) and measures nothing, so
            that only the scorer of a benchmark sees results; see `mtk.bench`.

    Raises:
        ValueError: If a number is out of range, not exactly one of `epochs` and `steps` is given,
            or `test` is unknown.
    """

    epochs: int | None = None
    steps: int | None = None
    evaluate_every: int | None = None
    monitor: Monitored = None
    patience: int | None = None
    seed: int = 0
    test: TestSplit = "open"

    def __post_init__(self) -> None:
        check_choice(TestSplit, test=self.test)
        if not 0 <= self.seed < SEEDS:
            raise ValueError(
                f"`seed` must be an integer from 0 to {SEEDS - 1}. Received: seed={self.seed}"
            )
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                "The length of a run must be given by either `epochs` or `steps`; leave the "
                f"other one None. Received: epochs={self.epochs}, steps={self.steps}"
            )
        _check_counts(self, "epochs", "steps", "evaluate_every", "patience")


@_public
@dataclass(frozen=True)
class Numerics:
    """Precision, devices and reproducibility of a run.

    Args:
        precision: Dtype policy of the network: `"float32"`, `"mixed_bfloat16"` or
            `"mixed_float16"`. Its variables, losses and combiner stay in float32.
        on_nonfinite: `"stop"` ends the run at a step whose losses or gradient are infinite or NaN;
            `"skip"` skips the step and counts it.
        micro_batches: Number of micro-batches into which the part of a batch on each replica is
            split to save memory.
        jit_compile: Whether to compile the step with XLA, on one device.
        deterministic: Whether to use only operations that give bitwise identical results in every
            run.
        strategy: Factory of the distribution strategy.

    Raises:
        ValueError: If a value is unknown or out of range.
    """

    precision: Precision = "float32"
    on_nonfinite: OnNonfinite = "stop"
    micro_batches: int = 1
    jit_compile: bool = False
    deterministic: bool = False
    strategy: Callable[[], tf.distribute.Strategy] = distribution.single

    def __post_init__(self) -> None:
        check_choice(Precision, precision=self.precision)
        check_choice(OnNonfinite, on_nonfinite=self.on_nonfinite)
        check_count(micro_batches=self.micro_batches)


@_public
@dataclass(frozen=True)
class Logging:
    """What a run logs.

    Args:
        log_every: Steps between two points of a training curve.
        measure_every: Steps between two measurements of per-task gradients; 0 for none. The default
            keeps their cost below 3 % of the run.
        profile_steps: First and last step to record for TensorBoard's profiler, counted from 1.
        callbacks: Factories of additional Keras callbacks, such as those of experiment trackers.
            For them, each evaluation ends a Keras epoch; their state is not saved in checkpoints.

    Raises:
        ValueError: If a number is out of range.
    """

    log_every: int = 100
    measure_every: int | None = None
    profile_steps: tuple[int, int] | None = None
    callbacks: Sequence[Callable[[], keras.callbacks.Callback]] = ()

    def __post_init__(self) -> None:
        check_count(log_every=self.log_every)
        if self.measure_every is not None:
            check_nonnegative(measure_every=self.measure_every)


@_public
@dataclass(frozen=True)
class Checkpoints:
    """How often a run is saved, where it pauses, and where it begins.

    Args:
        every: Seconds between two checkpoints; there is also one at each evaluation.
        keep: Number of checkpoints to keep.
        pause_at: Step at or after which the run pauses, at the first evaluation, with a checkpoint;
            `rungs/<step>.json` records the results so far. When called again with a later step, or
            None, the run continues and reaches the same result as without the pause.
        keep_pauses: Whether to keep the checkpoint of a pause in `rungs/<step>/`, so that other
            runs can branch from it.
        branch_from: `(name, step)`: the run starts from the pause, with `keep_pauses` and
            `pause_at=step`, of the run in the folder `name` next to its own. The whole state of
            that run is copied, including its logs; settings that differ in the configuration, such
            as static weights or a learning rate, apply from there on. `lineage.json` records the
            origin.

    Raises:
        ValueError: If a number is out of range, or `branch_from` is not a name and a step.
    """

    every: float = 60.0
    keep: int = 2
    pause_at: int | None = None
    keep_pauses: bool = False
    branch_from: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        check_nonnegative(every=self.every)
        check_count(keep=self.keep)
        _check_counts(self, "pause_at")
        if self.branch_from is not None:
            _check_branch(self.branch_from)


GROUPS = (Sharing, Optimization, Training, Numerics, Logging, Checkpoints)


def _check_branch(given: Any) -> None:
    is_pair = isinstance(given, (tuple, list)) and [*map(type, given)] == [str, int]
    if not is_pair or Path(given[0]).name != given[0] or given[1] < 1:
        raise ValueError(
            "`branch_from` must be the name of a run folder next to the run's own, and the "
            f"`pause_at` step of that run, such as ('a_run', 100). Received: {given!r}"
        )


def _check_counts(group: Any, *names: str) -> None:
    """Checks counts of a group, each of which may be None."""
    given = {name: getattr(group, name) for name in names}
    check_count(**{name: value for name, value in given.items() if value is not None})
