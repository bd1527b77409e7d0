"""A wrapper that applies a Gramian method to gradients of equal length."""

from typing import Any

import keras
import tensorflow as tf

from mtk.combiners.base import Combiner
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.solvers.scaling import scale
from mtk.combiners.wrapper import check_gramian, combiner_config, with_combiner


@keras.saving.register_keras_serializable("mtk")
class UnitGradients(GramianCombiner):
    """Rescales all gradients to the mean of their lengths, and merges them by another method.

    The method receives the cosines in place of the inner products, and its weights apply to the
    rescaled gradients: the size of a gradient no longer affects the direction. (A normalization of
    `MGDA` is only for finding the weights.) The common length is the mean, not one, so that
    learning rates keep their meaning: the mean scale is that of the method.

    A zero gradient has no direction and is left out. Heads are trained by their own gradients,
    divided by the number of tasks.

    Behavior under permuted tasks and freedom from conflicts are those of the method. Scaling all
    gradients scales the result if it does so for the method; scaling one only changes the length.

    Args:
        combiner: A method that weighs gradients by their Gramian. Its `at` and `update_every` apply
            to the step.

    Raises:
        ValueError: If the combiner does not weigh gradients by their Gramian.

    Example:
    >>> combiner = UnitGradients(MGDA())

    Reference:
        github.com/TorchJD/torchjd/issues/407.
    """

    def __init__(self, combiner: Combiner, name: str | None = None):
        checked = check_gramian("UnitGradients", combiner)
        super().__init__(at=checked.at, update_every=checked.update_every, name=name)
        self.combiner: GramianCombiner = checked.claimed()

    def bind(self, task_names: Any, variable_paths: Any) -> None:
        super().bind(task_names, variable_paths)
        self.combiner.bind(task_names, variable_paths)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.combiner.build(num_tasks)

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        cosines, lengths, directed = scale(gramian, present)
        number = tf.reduce_sum(tf.cast(directed, lengths.dtype))
        common = tf.math.divide_no_nan(tf.reduce_sum(lengths), number)
        factors = tf.cast(tf.math.divide_no_nan(common, lengths), tf.float32)
        normalized = tf.cast(cosines * common**2, tf.float32)
        losses = tf.where(directed, task_losses, 0.0)
        return self.combiner.new_weights(normalized, losses, directed) * factors

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **combiner_config(self.combiner)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "UnitGradients":
        return cls(**with_combiner(config))
