"""DWA: tasks whose loss falls slowly get more weight."""

import keras
import tensorflow as tf

from mtk.combiners.losses import LossCombiner
from mtk.ranges import check_count, check_positive


@keras.saving.register_keras_serializable("mtk")
class DWA(LossCombiner):
    """Dynamic weight averaging: weights from the ratio of the losses of the last two epochs.

    `w = softmax(r / T)` with `r_i` the mean loss of task i in the last epoch divided by that of the
    epoch before. The first two epochs have equal weights. The weights sum to one, the paper's to K.
    A task without labels in a whole epoch keeps its last means; until it has two means its r is
    one.

    Args:
        steps_per_epoch: Length of an epoch, in steps. Weights change at its end.
        temperature: T; larger means closer to equal weights.

    Raises:
        ValueError: If one of them is not positive.

    Reference:
        Liu et al., *End-to-End Multi-Task Learning with Attention* (2019), equation 7.
    """

    def __init__(self, steps_per_epoch: int, temperature: float = 2.0, name: str | None = None):
        check_count(steps_per_epoch=steps_per_epoch)
        check_positive(temperature=temperature)
        super().__init__(name=name)
        self.steps_per_epoch = steps_per_epoch
        self.temperature = temperature

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        shape = (num_tasks,)
        self.step = self.add_state("step", (), dtype="int64")
        self.loss_sum = self.add_state("loss_sum", shape)
        self.loss_count = self.add_state("loss_count", shape)
        # Zero: not known yet.
        self.last_mean = self.add_state("last_mean", shape)
        self.older_mean = self.add_state("older_mean", shape)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        self._turn_epoch()
        mask = tf.cast(present, tf.float32)
        self.loss_sum.assign_add(task_losses * mask)
        self.loss_count.assign_add(mask)
        self.step.assign_add(1)
        older = tf.convert_to_tensor(self.older_mean)
        rates = tf.math.divide_no_nan(tf.convert_to_tensor(self.last_mean), older)
        rates = tf.where(older == 0.0, 1.0, rates)
        weights = tf.exp((rates - tf.reduce_max(rates)) / self.temperature) * mask
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def _turn_epoch(self) -> None:
        """At the first step of an epoch, stores the means of the one that ended."""
        turns = (self.step > 0) & (self.step % self.steps_per_epoch == 0)
        ended = turns & (self.loss_count > 0.0)
        mean = tf.math.divide_no_nan(
            tf.convert_to_tensor(self.loss_sum), tf.convert_to_tensor(self.loss_count)
        )
        self.older_mean.assign(tf.where(ended, self.last_mean, self.older_mean))
        self.last_mean.assign(tf.where(ended, mean, self.last_mean))
        self.loss_sum.assign(tf.where(turns, 0.0, self.loss_sum))
        self.loss_count.assign(tf.where(turns, 0.0, self.loss_count))
