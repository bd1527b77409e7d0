"""What a run is given besides its workload and its combiner, in groups."""

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
    """Has a class named by the package that shows it, in configurations and their records."""
    group.__module__ = "mtk.experiment"
    return group


@_public
@dataclass(frozen=True)
class Sharing:
    """Which variables tasks share, and how the gradients of each task are computed.

    Args:
        gradients: How to compute per-task gradients; see `mtk.gradients.choose`.
        representation: Name of the layer whose output the heads read, where it cannot be found.
        shared: Names of layers or paths of variables that the tasks share, where that cannot be
            found; see `mtk.MultiTaskModel`. What was found or chosen is in `manifest.json`.
        heads: The same by task, of its head.
    """

    gradients: GradientStrategy = "auto"
    representation: str | None = None
    shared: Sequence[str] | None = None
    heads: Mapping[str, Sequence[str]] | None = None


@_public
@dataclass(frozen=True)
class Optimization:
    """How a step changes the weights.

    Args:
        optimizer: Factory of the optimizer, called with `learning_rate=`.
        learning_rate: At the start, or whatever `schedule` makes of it.
        schedule: Factory of a schedule, called with `learning_rate=` and `steps_per_epoch=`; None
            keeps the learning rate.
        weight_decay: Coupled L2.
        clip_norm: Largest global norm of the combined gradient.
        batch_size: Examples a step, over all replicas.

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
            steps_per_epoch: Of the training split, for the schedule.
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
            mean of the tasks' losses; `"relative_loss"`, the mean of their ratios to the first
            evaluation's; a metric, such as `"left_accuracy"`, or `("left_accuracy", "max")` where
            its class does not tell its direction; or a mean of several, `{"left_accuracy": "max",
            "right_loss": "min"}`, in which metrics of different units, shares of one aside, are
            relative to the first evaluation. None is the first where all losses are of one kind
            (the same class, or cross-entropies), and the second where they have different units.
            See `mtk.monitor.resolve`.
        patience: Evaluations without a better one after which the run stops; None never stops it.
        seed: Of the initial weights, dropout and the order of the data.
        test: What becomes of the test split: `"open"` measures it at the selected step; `"sealed"`
            keeps what the network predicts of its inputs (`test_predictions.npz`) and measures
            nothing, so that only who scores a benchmark knows; see `mtk.bench`.

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
                f"`seed` is a whole number from 0 to {SEEDS - 1}. Received: seed={self.seed}"
            )
        if (self.epochs is None) == (self.steps is None):
            raise ValueError(
                "The length of a run is given by `epochs` or by `steps`: give one of them, and "
                f"leave the other None. Received: epochs={self.epochs}, steps={self.steps}"
            )
        _check_counts(self, "epochs", "steps", "evaluate_every", "patience")


@_public
@dataclass(frozen=True)
class Numerics:
    """In what, on what and how exactly a run computes.

    Args:
        precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`: in what the network
            computes. Its variables, losses and combiner stay in float32.
        on_nonfinite: `"stop"` ends the run at a step whose losses or gradient are infinite or
            NaN; `"skip"` leaves the step out and counts it.
        micro_batches: Passes into which a replica's part of a batch is divided to save memory.
        jit_compile: Whether to compile the step with XLA, on one device.
        deterministic: Whether to use only operations that give the same bits in every run.
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
    """What a run writes of its course.

    Args:
        log_every: Steps between two points of a training curve.
        measure_every: Steps between two measurements of per-task gradients; 0 for none. By default
            so rare that they cost less than 3 % of the run.
        profile_steps: First and last step to record for TensorBoard's profiler, counted from 1.
        callbacks: Factories of further Keras callbacks, such as those of experiment trackers. They
            see Keras' epochs, one for each evaluation; what they remember is in no checkpoint.

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
        keep: How many of them to keep.
        pause_at: A step; the run pauses at the first evaluation there or after it, with a
            checkpoint, and says in `rungs/<step>.json` what it has come to. Called again with a
            later step, or None, it goes on, and comes to what it would have come to without.
        keep_pauses: Whether the checkpoint of a pause is kept in `rungs/<step>/`, for other runs to
            branch from.
        branch_from: `(name, step)`: the run begins where the one in the folder of this name, beside
            its own, has paused with `keep_pauses`, when asked to at this step. All of that run's
            state is taken over, its record too; what the configuration says otherwise, such as
            static weights or a learning rate, holds from there on. `lineage.json` tells it.

    Raises:
        ValueError: If a number is out of range, or `branch_from` is no name and step.
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
            "`branch_from` is the name of a run folder beside the run's own, and the step at which "
            f"that run was to pause, such as ('a_run', 100). Received: {given!r}"
        )


def _check_counts(group: Any, *names: str) -> None:
    """Checks counts of a group that may be None."""
    given = {name: getattr(group, name) for name in names}
    check_count(**{name: value for name, value in given.items() if value is not None})
