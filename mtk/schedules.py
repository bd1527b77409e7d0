"""Learning rate schedules.

Every schedule takes the learning rate and the steps per epoch first, so that a configuration can
replace one with another.
"""

import math
from typing import Any

import keras
import tensorflow as tf

from mtk.ranges import check_positive

_COOLDOWNS = ("1-sqrt", "linear")


@keras.saving.register_keras_serializable("mtk")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Multiplies the learning rate by a factor every `every` epochs.

    `lr(step) = learning_rate * factor ** floor(step / (every * steps_per_epoch))`

    Args:
        learning_rate: Learning rate at the start.
        steps_per_epoch: Number of optimizer steps per epoch.
        factor: Factor of each decay.
        every: Number of epochs between decays.

    Raises:
        ValueError: If `factor`, `every` or `steps_per_epoch` is not positive.
    """

    def __init__(
        self, learning_rate: float, steps_per_epoch: int, factor: float = 0.85, every: int = 30
    ):
        check_positive(steps_per_epoch=steps_per_epoch, every=every, factor=factor)
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.factor = factor
        self.every = every

    def __call__(self, step: Any) -> tf.Tensor:
        # Integers until the power: float32 cannot distinguish steps beyond 2^24.
        decays = tf.cast(step, tf.int64) // (self.every * self.steps_per_epoch)
        return self.learning_rate * tf.pow(
            tf.constant(self.factor, tf.float32), tf.cast(decays, tf.float32)
        )

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "factor": self.factor,
            "every": self.every,
        }


@keras.saving.register_keras_serializable("mtk")
class InverseSqrt(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then decay with the inverse square root of the step.

    `lr(t) = learning_rate * min(t * warmup ** -1.5, t ** -0.5)` for the t-th update, t = 1, 2, ….
    It peaks at `learning_rate / sqrt(warmup)`, at t = warmup.

    Args:
        learning_rate: The scale, often written η; not the peak.
        steps_per_epoch: Ignored: this schedule counts steps.
        warmup: Number of warm-up steps.

    Raises:
        ValueError: If `warmup` is not positive.

    Reference:
        Vaswani et al., "Attention Is All You Need" (2017), equation 3, with the model size included
        in the scale.
    """

    def __init__(self, learning_rate: float, steps_per_epoch: int = 1, warmup: int = 40_000):
        check_positive(warmup=warmup)
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.warmup = warmup

    def __call__(self, step: Any) -> tf.Tensor:
        update = tf.cast(step, tf.float32) + 1.0
        return self.learning_rate * tf.minimum(update * self.warmup**-1.5, tf.math.rsqrt(update))

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "warmup": self.warmup,
        }


@keras.saving.register_keras_serializable("mtk")
class Cosine(keras.optimizers.schedules.LearningRateSchedule):
    """Half a cosine wave from the learning rate down to zero, with a linear warm-up.

    `lr(step) = learning_rate * (1 + cos(pi * min(step / (epochs * steps_per_epoch), 1))) /
    2`, multiplied by `(step + 1) / warmup` during the warm-up.

    Args:
        learning_rate: Learning rate at the start.
        steps_per_epoch: Number of optimizer steps per epoch.
        epochs: Number of epochs until the learning rate is zero.
        warmup: Number of warm-up steps; 1 for none.

    Raises:
        ValueError: If `epochs`, `steps_per_epoch` or `warmup` is not positive.

    Reference:
        Loshchilov & Hutter, "SGDR" (2017), equation 5, without restarts.
    """

    def __init__(
        self, learning_rate: float, steps_per_epoch: int, epochs: float = 100, warmup: int = 1
    ):
        check_positive(steps_per_epoch=steps_per_epoch, epochs=epochs, warmup=warmup)
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.warmup = warmup

    def __call__(self, step: Any) -> tf.Tensor:
        done = tf.cast(step, tf.float32) / (self.epochs * self.steps_per_epoch)
        warm = tf.minimum((tf.cast(step, tf.float32) + 1.0) / self.warmup, 1.0)
        return self.learning_rate * warm * 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(done, 1.0)))

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "epochs": self.epochs,
            "warmup": self.warmup,
        }


@keras.saving.register_keras_serializable("mtk")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up, a constant learning rate, and a cooldown to zero.

    `lr(step) = learning_rate * min((step + 1) / warmup, 1) *
    cooldown(step)`, where the cooldown is 1 before the step `decay_from`, and `1 - sqrt(x)` or `1 -
    x` after it, with `x = (step - decay_from) / (decay_to - decay_from)` at most 1.

    Without a cooldown it is the common stem from which runs with a cooldown branch off: the
    schedule does not depend on the length of a run, so that a search can compare unfinished runs;
    see `search.Search.cooldown`.

    Args:
        learning_rate: Learning rate between warm-up and cooldown.
        steps_per_epoch: Ignored: this schedule counts steps.
        warmup: Number of warm-up steps; 1 for none.
        decay_from: Step at which the cooldown begins; None for no cooldown.
        decay_to: Step at which it reaches zero: the length of the run.
        shape: Shape of the cooldown: `"1-sqrt"` or `"linear"`.

    Raises:
        ValueError: If `warmup` is not positive, the shape is unknown, or the cooldown lacks a
            beginning or an end after it.

    Reference:
        Hu et al., "MiniCPM" (2024), section 4; Hägele et al., "Scaling Laws and Compute-Optimal
        Training Beyond Fixed Training Durations" (2024), section 3, whose `1-sqrt` counts the steps
        of the cooldown from 1, so that its last one has a learning rate of zero.
    """

    def __init__(
        self,
        learning_rate: float,
        steps_per_epoch: int = 1,
        warmup: int = 1,
        decay_from: int | None = None,
        decay_to: int | None = None,
        shape: str = "1-sqrt",
    ):
        check_positive(warmup=warmup)
        if shape not in _COOLDOWNS:
            raise ValueError(
                f"`shape` of a cooldown must be one of {_COOLDOWNS}. Received: {shape!r}"
            )
        ends = (decay_from, decay_to)
        if ends != (None, None) and (None in ends or not 0 <= decay_from < decay_to):  # type: ignore[operator]
            raise ValueError(
                "A cooldown needs both a first step and a later last step, or neither. "
                f"Received: decay_from={decay_from}, decay_to={decay_to}"
            )
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.warmup = warmup
        self.decay_from = decay_from
        self.decay_to = decay_to
        self.shape = shape

    def __call__(self, step: Any) -> tf.Tensor:
        warm = tf.minimum((tf.cast(step, tf.float32) + 1.0) / self.warmup, 1.0)
        rate = self.learning_rate * warm
        if self.decay_from is None or self.decay_to is None:
            return rate
        behind = tf.cast(tf.cast(step, tf.int64) - self.decay_from, tf.float32)
        done = tf.clip_by_value(behind / (self.decay_to - self.decay_from), 0.0, 1.0)
        return rate * (1.0 - (done if self.shape == "linear" else tf.sqrt(done)))

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "steps_per_epoch": self.steps_per_epoch,
            "warmup": self.warmup,
            "decay_from": self.decay_from,
            "decay_to": self.decay_to,
            "shape": self.shape,
        }
