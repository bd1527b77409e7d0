"""Base class of the combiners that read the Gramian of the task gradients."""

import abc

import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner, Place
from mtk.finite import nan_unless
from mtk.ranges import check_count


class GramianCombiner(Combiner):
    """A combiner that needs only the inner products of the task gradients.

    The inner products are in float32, which covers gradients with norms from 1e-18 to 1e19. A
    shorter gradient counts as zero; a longer one makes the weights NaN, which ends a run as
    diverged. Multiply such losses by a constant, or use `loss_weights`.

    Args:
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights. In between, the last weights
            are used and a step costs one backward pass.

    Raises:
        ValueError: If `update_every` is less than one.
    """

    reads = "gramian"

    def __init__(self, at: Place = "parameters", update_every: int = 1, name: str | None = None):
        check_count(update_every=update_every)
        super().__init__(name=name)
        self.at = at
        self.update_every = update_every

    @property
    def _lacks(self) -> str:
        return "" if self.changes_gradients else super()._lacks

    @property
    def changes_gradients(self) -> bool:
        return type(self).call is not GramianCombiner.call

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        # K times the last weights, so that 1 is neutral for a task that was absent.
        self.last_weights = self.add_state("last_weights", (num_tasks,), initial=1.0)

    @abc.abstractmethod
    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weights of the task gradients in their combination.

        Args:
            gramian: Tensor `(K, K)` of inner products, float32; rows of absent tasks are zero.
            task_losses: Tensor `(K,)`; zero for an absent task.
            present: Boolean tensor `(K,)`.

        Returns:
            Tensor `(K,)`, float32, zero for an absent task.
        """
        raise NotImplementedError

    def gramian_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        return self.new_weights(gramian, task_losses, present)

    def new_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        """Returns `task_weights` and stores them for the steps until the next update.

        A nonfinite Gramian gives NaN weights, so that a diverged run is noticed.

        Args:
            gramian: Tensor `(K, K)` of inner products; rows of absent tasks may hold anything.
            task_losses: Tensor `(K,)`; zero for an absent task.
            present: Boolean tensor `(K,)`.

        Returns:
            Tensor `(K,)`, float32, zero for an absent task.
        """
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        gramian, finite = self.problem(gramian, present)
        weights = self.task_weights(gramian, task_losses, present)
        weights = self.checked(weights, present.shape, "task_weights")
        weights = nan_unless(finite, weights)
        self.last_weights.assign(tf.where(present, weights * number, 1.0))
        return weights

    @staticmethod
    def problem(gramian: tf.Tensor, present: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the Gramian without absent tasks, and whether it was finite.

        A nonfinite Gramian is replaced by zeros, since factorizing NaN would stop the program.

        Args:
            gramian: Tensor `(..., K, K)`.
            present: Boolean tensor `(K,)`.
        """
        gramian = tf.where(present[:, None] & present[None, :], gramian, 0.0)
        finite = tf.reduce_all(tf.math.is_finite(gramian))
        return tf.where(finite, gramian, 0.0), finite

    def cached_weights(self, present: tf.Tensor) -> tf.Tensor:
        """Returns the weights of the last update for the tasks now present, `(K,)`.

        Args:
            present: Boolean tensor `(K,)`. A task absent in the last update gets the mean weight.
        """
        mask = tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(self.last_weights * mask, tf.reduce_sum(mask))

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del counts
        weights = self.new_weights(gradients.gramian(task_gradients), task_losses, present)
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)
