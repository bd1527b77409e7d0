"""Base class of the combiners that compare the task gradients of several parts of a batch."""

import abc

import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.gramian import GramianCombiner
from mtk.finite import nan_unless


def over_parts(task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Spreads each task's weight evenly over the parts of a batch in which it has labels.

    Args:
        task_weights: Tensor `(K,)`.
        present: Boolean tensor `(P, K)`.

    Returns:
        Tensor `(P, K)`, whose sum over the parts is `task_weights`.
    """
    mask = tf.cast(present, tf.float32)
    number = tf.reduce_sum(mask, 0, keepdims=True)
    return task_weights * tf.math.divide_no_nan(mask, number)


class PartsCombiner(Combiner):
    """A combiner that weighs the task gradients of P parts of a batch by their inner products.

    Weights computed from the gradients that they multiply are biased by their common noise; weights
    from other examples are not. The trainer divides each batch into equal parts with a forward pass
    each: batch normalization uses the statistics of a part, and the loss of each part is a mean
    over its labels. All P * K gradients of the shared variables are held at once, and a step makes
    K backward passes over the batch, as other methods that read gradients.

    A batch that is not divisible into the parts is an error. A task without labels in a part has no
    gradient there: its inner products are zero.

    In a custom training loop, gradients are tensors `(P, K, *variable.shape)`, and losses,
    `present` and `counts` are `(P, K)`. Gradients `(K, *variable.shape)` of one batch, with losses
    `(K,)`, are used for all parts: the method without noise.
    """

    reads = "gramian"

    @abc.abstractmethod
    def part_weights(
        self, products: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weights of the task gradients of all parts in their combination.

        Args:
            products: Tensor `(P, K, P, K)`, float32: `products[p, i, q, j]` is the inner product of
                the gradient of task i in part p and that of task j in part q; zero where a task
                has no label.
            task_losses: Tensor `(P, K)`; zero where a task has no label.
            present: Boolean tensor `(P, K)`: which tasks have labels in which parts.

        Returns:
            Tensor `(P, K)`, float32, zero where a task has no label.
        """
        raise NotImplementedError

    @property
    def changes_gradients(self) -> bool:
        return type(self).call is not PartsCombiner.call

    def new_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weights of all gradients, part by part.

        A nonfinite Gramian gives NaN weights, so that a diverged run is noticed.

        Args:
            gramian: Tensor `(P * K, P * K)`; rows without a label may hold anything.
            task_losses: Tensor `(P * K,)`.
            present: Boolean tensor `(P * K,)`.

        Returns:
            Tensor `(P * K,)`, float32.
        """
        shape = (self.batch_parts, self.num_tasks)
        gramian, finite = GramianCombiner.problem(gramian, present)
        weights = self.part_weights(
            tf.reshape(gramian, (*shape, *shape)),
            tf.reshape(task_losses, shape),
            tf.reshape(present, shape),
        )
        weights = self.checked(weights, shape, "part_weights")
        return nan_unless(finite, tf.reshape(weights, [-1]))

    def gramian_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        parts = self.batch_parts
        losses, there = (tf.tile(each, [parts]) for each in (task_losses, present))
        weights = self.new_weights(tf.tile(gramian, (parts, parts)), losses, there)
        return tf.reduce_sum(tf.reshape(weights, (parts, -1)), 0)

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del counts
        if task_losses.shape.rank == 1:
            gramian = gradients.gramian(task_gradients)
            total = self.gramian_weights(gramian, task_losses, present)
            return Combined(gradients.weighted_sum(task_gradients, total), total)
        rows = [tf.reshape(each, (-1, *each.shape[2:])) for each in task_gradients]
        losses, there = (tf.reshape(each, [-1]) for each in (task_losses, present))
        weights = self.new_weights(gradients.gramian(rows), losses, there)
        total = tf.reduce_sum(tf.reshape(weights, (self.batch_parts, -1)), 0)
        return Combined(gradients.weighted_sum(rows, weights), total)
