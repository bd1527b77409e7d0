"""Learning rates that change with the step.

Every schedule takes the learning rate and the steps of an epoch first, so that a configuration can
exchange one for another.
"""

import math
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("mtk")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Multiplies the learning rate by a factor every so many epochs.

    `lr(step) = learning_rate * factor ** floor(step / (every * steps_per_epoch))`

    Args:
        learning_rate: Learning rate at the start.
        steps_per_epoch: Optimizer steps in an epoch.
        factor: What the learning rate is multiplied by.
        every: Epochs between two multiplications.

    Raises:
        ValueError: If `factor`, `every` or `steps_per_epoch` is not positive.
    """

    def __init__(
        self, learning_rate: float, steps_per_epoch: int, factor: float = 0.85, every: int = 30
    ):
        _check_positive(steps_per_epoch=steps_per_epoch, every=every, factor=factor)
        self.learning_rate = learning_rate
        self.steps_per_epoch = steps_per_epoch
        self.factor = factor
        self.every = every

    def __call__(self, step: Any) -> tf.Tensor:
        # Whole numbers until the power: float32 cannot tell steps beyond 2^24 apart.
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
    """Linear warm-up, then a decay with the square root of the step.

    `lr(t) = learning_rate * min(t * warmup ** -1.5, t ** -0.5)` for the t-th update, t = 1, 2, ….
    It peaks at `learning_rate / sqrt(warmup)`, at t = warmup.

    Args:
        learning_rate: The scale, often written η; not the peak.
        steps_per_epoch: Not read: this schedule counts steps.
        warmup: Steps of the warm-up.

    Raises:
        ValueError: If `warmup` is not positive.

    Reference:
        Vaswani et al., "Attention Is All You Need" (2017), equation 3, with the model's size in
        the scale.
    """

    def __init__(self, learning_rate: float, steps_per_epoch: int = 1, warmup: int = 40_000):
        _check_positive(warmup=warmup)
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
    """Half a cosine wave from the learning rate down to zero, behind a linear warm-up.

    `lr(step) = learning_rate * (1 + cos(pi * min(step / (epochs * steps_per_epoch), 1))) / 2`, in
    the warm-up times `(step + 1) / warmup`.

    Args:
        learning_rate: Learning rate at the start.
        steps_per_epoch: Optimizer steps in an epoch.
        epochs: Epochs until zero.
        warmup: Steps of the warm-up; 1 for none.

    Raises:
        ValueError: If `epochs`, `steps_per_epoch` or `warmup` is not positive.

    Reference:
        Loshchilov & Hutter, "SGDR" (2017), equation 5, without restarts.
    """

    def __init__(
        self, learning_rate: float, steps_per_epoch: int, epochs: float = 100, warmup: int = 1
    ):
        _check_positive(steps_per_epoch=steps_per_epoch, epochs=epochs, warmup=warmup)
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


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"`{name}` of a learning-rate schedule is above 0. Received: {value}")
