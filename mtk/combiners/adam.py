"""Adam on one number per task, for the combiners that learn something themselves."""

import tensorflow as tf

from mtk.combiners.base import Combiner

MEAN_DECAY = 0.9
SQUARE_DECAY = 0.999
EPSILON = 1e-8


class TaskAdam:
    """Adam whose state belongs to a combiner and stands still for absent tasks.

    What a combiner learns is not in the network's optimizer: there weight decay, clipping and the
    learning rate schedule would reach it. Adam, as its steps do not depend on the scale of losses
    and gradients.

    Args:
        combiner: The owner of the state; call this in its `build`.
        learning_rate: Length of a step, in the units of what is learned.

    Reference:
        Kingma & Ba, *Adam: A Method for Stochastic Optimization* (2015), algorithm 1.
    """

    def __init__(self, combiner: Combiner, learning_rate: float):
        shape = (combiner.num_tasks,)
        self.learning_rate = learning_rate
        self.mean = combiner.add_state("adam_mean", shape)
        self.square = combiner.add_state("adam_square", shape)
        self.steps = combiner.add_state("adam_steps", shape)

    def change(self, gradient: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Takes one step; returns what to add to the numbers.

        Args:
            gradient: Tensor `(K,)`, of what is minimized by the numbers.
            present: Boolean tensor `(K,)`.

        Returns:
            Tensor `(K,)`, zero for absent tasks.
        """
        gradient = tf.where(present, gradient, 0.0)
        steps = self.steps + tf.cast(present, tf.float32)
        mean = MEAN_DECAY * self.mean + (1.0 - MEAN_DECAY) * gradient
        square = SQUARE_DECAY * self.square + (1.0 - SQUARE_DECAY) * gradient**2
        for variable, value in ((self.mean, mean), (self.square, square), (self.steps, steps)):
            variable.assign(tf.where(present, value, variable))
        # An absent task may never have been seen: its correction would be 0 / 0.
        count = tf.maximum(steps, 1.0)
        mean /= 1.0 - MEAN_DECAY**count
        square /= 1.0 - SQUARE_DECAY**count
        change = -self.learning_rate * mean / (tf.sqrt(square) + EPSILON)
        return tf.where(present, change, 0.0)
