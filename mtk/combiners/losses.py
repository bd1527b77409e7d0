"""Base class of the combiners that need no per-task gradients."""

import abc
from typing import ClassVar

import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner


class LossCombiner(Combiner):
    """A combiner that weighs tasks by their losses at most, at the cost of one backward pass.

    Attributes:
        loss_independent: Whether the weights neither depend on the losses of the batch nor learn
            from them, so that a batch in parts needs no forward pass before the training one.
    """

    reads = "losses"
    weighs_heads = True
    loss_independent: ClassVar[bool] = False

    @property
    def changes_gradients(self) -> bool:
        return type(self).call is not LossCombiner.call

    @abc.abstractmethod
    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        """Returns this step's weights.

        Args:
            task_losses: Tensor `(K,)`; zero for an absent task, and for all tasks if
                `loss_independent`.
            present: Boolean tensor `(K,)`.
            counts: Tensor `(K,)`: number of labels of each task in the global batch.

        Returns:
            Tensor `(K,)`, zero for an absent task.
        """
        raise NotImplementedError

    def gramian_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del gramian
        weights = self.task_weights(task_losses, present, tf.cast(present, tf.float32))
        return self.checked(weights, task_losses.shape, "task_weights")

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        weights = self.task_weights(task_losses, present, counts)
        weights = self.checked(weights, task_losses.shape, "task_weights")
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)
