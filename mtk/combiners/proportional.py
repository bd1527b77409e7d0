"""Proportional sampling: weights given by the composition of the batch."""

import keras
import tensorflow as tf

from mtk.combiners.losses import LossCombiner


@keras.saving.register_keras_serializable("mtk")
class ProportionalSampling(LossCombiner):
    """Weighs each task by its share of the labels in the batch.

    With `n_i` labels of task i in the global batch, `L = sum_i n_i L_i / sum_i n_i` is the mean
    loss of all labels. In batches that mix the tasks in given proportions, these proportions act as
    static weights, at the cost of a single loss.

    Reference:
        Xin et al., *Do Current Multi-Task Optimization Methods in Deep Learning Even Help?* (2022),
        section 2.
    """

    loss_independent = True
    is_static = True

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        counts = tf.where(present, counts, 0.0)
        return tf.math.divide_no_nan(counts, tf.reduce_sum(counts))
