"""Adam on one parameter per task, for combiners that learn parameters of their own."""

import tensorflow as tf

from mtk.combiners.base import Combiner

MEAN_DECAY = 0.9
SQUARE_DECAY = 0.999
EPSILON = 1e-8


class TaskAdam:
    """Adam whose state belongs to a combiner and is frozen for absent tasks.

    The parameters of a combiner are not passed to the network's optimizer, whose weight decay,
    clipping and learning rate schedule would affect them. Adam is used because its steps do not
    depend on the scale of the losses and gradients.

    Args:
        combiner: The owner of the state; call this in its `build`.
        learning_rate: Learning rate, in the units of the learned parameters.

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
        """Takes one step and returns the update to add to the parameters.

        Args:
            gradient: Tensor `(K,)`: the gradient of the objective with respect to the parameters.
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
        # A task that was never present would have a bias correction of 0 / 0.
        count = tf.maximum(steps, 1.0)
        mean /= 1.0 - MEAN_DECAY**count
        square /= 1.0 - SQUARE_DECAY**count
        change = -self.learning_rate * mean / (tf.sqrt(square) + EPSILON)
        return tf.where(present, change, 0.0)
