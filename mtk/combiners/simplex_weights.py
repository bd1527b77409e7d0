"""Weights on the simplex that go on from step to step."""

import tensorflow as tf

from mtk.combiners.base import Combiner


class SimplexWeights:
    """Weights of a sum of one over the tasks that are present; those of absent tasks rest.

    Args:
        combiner: The owner of the state; call this in its `build`.
    """

    def __init__(self, combiner: Combiner):
        # K times the weights, so that 1 is neutral.
        self.relative = combiner.add_state("relative", (combiner.num_tasks,), initial=1.0)

    def of(self, present: tf.Tensor) -> tf.Tensor:
        """Returns the weights as they are, `(K,)`.

        Args:
            present: Boolean tensor `(K,)`.
        """
        mask = tf.cast(present, tf.float32)
        weights = self.relative * mask
        # If those that are present had no weight, they start again.
        weights = tf.where(tf.reduce_sum(weights) > 0.0, weights, mask)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def keep(self, weights: tf.Tensor, present: tf.Tensor) -> None:
        """Keeps new weights for the next step.

        Args:
            weights: Tensor `(K,)`, of a sum of one.
            present: Boolean tensor `(K,)`.
        """
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        self.relative.assign(tf.where(present, weights * number, self.relative))
