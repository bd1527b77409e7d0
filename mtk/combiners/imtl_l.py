"""IMTL-L: losses scaled to the same size."""

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam
from mtk.combiners.base import Combiner
from mtk.combiners.losses import LossCombiner
from mtk.ranges import check_nonnegative


class LearnedScales:
    """The scales `exp(s_i)` of the losses, learned by minimizing `sum_i exp(s_i) L_i - s_i`.

    Args:
        combiner: The owner of the state; call this in its `build`.
        learning_rate: Adam's learning rate for s.
    """

    def __init__(self, combiner: Combiner, learning_rate: float):
        self.log_scales = combiner.add_state("log_scales", (combiner.num_tasks,))
        self.adam = TaskAdam(combiner, learning_rate)

    def __call__(self) -> tf.Tensor:
        """Returns the scales, `(K,)`."""
        return tf.exp(tf.convert_to_tensor(self.log_scales))

    def learn(self, task_losses: tf.Tensor, present: tf.Tensor) -> None:
        """Takes one step of minimizing over s.

        Args:
            task_losses: Tensor `(K,)`, not scaled.
            present: Boolean tensor `(K,)`; the scales of absent tasks are unchanged.
        """
        self.log_scales.assign_add(self.adam.change(self() * task_losses - 1.0, present))


@keras.saving.register_keras_serializable("mtk")
class IMTLL(LossCombiner):
    """Learns a scale for each loss, so that all scaled losses tend to one.

    Minimizes `sum_i exp(s_i) L_i - s_i` over the network and over s. The network's gradient is
    divided by the number of tasks, so that the mean scale holds at the start, s = 0, but not later.
    The `s_i` take Adam steps with their own learning rate; in the paper they are weights of the
    network, where weight decay would pull them to zero.

    Args:
        learning_rate: Adam's learning rate for s.

    Raises:
        ValueError: If the learning rate is negative or not finite.

    Reference:
        Liu et al., *Towards Impartial Multi-task Learning* (2021), equation 6.
    """

    def __init__(self, learning_rate: float = 0.025, name: str | None = None):
        check_nonnegative(learning_rate=learning_rate)
        super().__init__(name=name)
        self.learning_rate = learning_rate

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.scales = LearnedScales(self, self.learning_rate)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        mask = tf.cast(present, tf.float32)
        weights = tf.math.divide_no_nan(self.scales() * mask, tf.reduce_sum(mask))
        self.scales.learn(task_losses, present)
        return weights
