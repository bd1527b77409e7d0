"""A wrapper that draws a random subset of the tasks in each step."""

from collections.abc import Callable
from typing import TypeVar

import keras
import tensorflow as tf

from mtk.combiners import stateless_random
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.wrapper import Wrapper
from mtk.ranges import check_count

Found = TypeVar("Found")


@keras.saving.register_keras_serializable("mtk")
class TaskSubset(Wrapper):
    """Draws `number` of the present tasks in each step, whose gradients any method merges.

    The others count as absent in the step, in trunk and heads: the m chosen tasks get the weights
    that the method would give in a batch with labels of these only. All are equally likely to be
    chosen.

    A method that reads gradients makes m backward passes through the shared variables instead of K,
    and one through all heads, and holds m gradients. (A method that changes the gradients
    themselves holds K, most of them zero.) Nothing is saved if the gradients are taken at the
    `"representation"`, if each task has its own inputs (a step covers all of them), or around a
    method that reads losses, which makes one pass in any case.

    Permuting the tasks permutes the distribution of the weights. The state is K + 1 numbers.

    Args:
        combiner: The method.
        number: Number of tasks per step (m); all present tasks, if there are fewer.
        seed: Integer; runs with the same seed draw the same tasks.

    Raises:
        ValueError: If the number is less than one, or the combiner reuses weights over several
            steps, reads losses after the update, or changes gradients at the `"representation"`.

    Example:
    >>> combiner = TaskSubset(UPGrad(), number=4)

    Reference:
        Lin et al., *Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
        Learning* (2021), on random weights, which include weights of zero and one.
    """

    def __init__(self, combiner: Combiner, number: int, seed: int = 0, name: str | None = None):
        super().__init__(combiner, name=name)
        check_count(number=number)
        what = type(combiner).__name__
        if self.update_every != 1:
            raise ValueError(
                f"{what} reuses its weights for {self.update_every} steps, but each step draws "
                "other tasks. Use `update_every=1`."
            )
        if self.needs_post_update_loss or (self.changes_gradients and self.at != "parameters"):
            raise ValueError(
                f"TaskSubset cannot wrap {what}, which uses more than the gradients of the "
                "drawn tasks: the losses after the update, or features."
            )
        self.number = number
        self.seed = seed

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.random_keys = stateless_random.RandomKeys(self, self.seed)
        self.last_chosen = self.add_state("last_chosen", (num_tasks,))

    def chosen_tasks(self, present: tf.Tensor) -> tf.Tensor | None:
        if self.number >= self.num_tasks:
            return None
        return self._order(self.random_keys.key(), present)[: self.number]

    def around(self, find: Callable[[tf.Tensor], Found], present: tf.Tensor) -> Found:
        chosen = self._order(self.random_keys.next_key(), present)[: self.number]
        mask = tf.reduce_any(chosen[:, None] == tf.range(self.num_tasks)[None, :], 0) & present
        self.last_chosen.assign(tf.cast(mask, tf.float32))
        return find(mask)

    def _order(self, key: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns the tasks in a random order, present ones first."""
        score = stateless_random.uniform(key, (self.num_tasks,)) + tf.cast(~present, tf.float32)
        return tf.argsort(score, stable=True)

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        def find(mask: tf.Tensor) -> Combined:
            losses, numbers = (tf.where(mask, each, 0.0) for each in (task_losses, counts))
            return self.combiner.call(task_gradients, losses, mask, numbers)

        return self.around(find, present)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return super().head_weights(task_weights, present & (self.last_chosen > 0.0))
