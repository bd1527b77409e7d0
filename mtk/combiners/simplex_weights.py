"""Weights on the simplex that are kept from step to step."""

import tensorflow as tf

from mtk.combiners.base import Combiner


class SimplexWeights:
    """Weights that sum to one over the present tasks; those of absent tasks are unchanged.

    Args:
        combiner: The owner of the state; call this in its `build`.
    """

    def __init__(self, combiner: Combiner):
        # K times the weights, so that 1 is neutral.
        self.relative = combiner.add_state("relative", (combiner.num_tasks,), initial=1.0)

    def of(self, present: tf.Tensor) -> tf.Tensor:
        """Returns the current weights, `(K,)`.

        Args:
            present: Boolean tensor `(K,)`.
        """
        mask = tf.cast(present, tf.float32)
        weights = self.relative * mask
        # If all present tasks have weight zero, they restart from equal weights.
        weights = tf.where(tf.reduce_sum(weights) > 0.0, weights, mask)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def keep(self, weights: tf.Tensor, present: tf.Tensor) -> None:
        """Stores new weights for the next step.

        Args:
            weights: Tensor `(K,)`, summing to one.
            present: Boolean tensor `(K,)`.
        """
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        self.relative.assign(tf.where(present, weights * number, self.relative))
