"""CR-MOGM: the moving average of a method's weights."""

from collections.abc import Callable

import keras
import tensorflow as tf

from mtk.combiners.base import Combiner
from mtk.combiners.task_subset import TaskSubset
from mtk.combiners.wrapper import Wrapper
from mtk.ranges import check_rate


@keras.saving.register_keras_serializable("mtk")
class CRMOGM(Wrapper):
    """Correlation-reduced weights: `w_t = alpha w_(t-1) + (1 - alpha) v_t` for a method's `v_t`.

    Weights that are computed from a batch depend on the gradients that they multiply, which biases
    the direction; an average over many batches hardly does. It starts at equal weights, `1 / K`.

    A task without labels has the weight zero, and its average rests; those of the others are
    multiplied by K over the number present, as if the absent one had the mean weight.

    The mean scale, permutations and the length under scaled gradients are as for the method; that
    it conflicts with no gradient does not survive the average. K numbers of state.

    Args:
        combiner: The method: one that reads losses, or the Gramian. It may compute its weights
            every few steps (`update_every`): each counts once.
        alpha: Share of the past in the average, from 0 to less than 1.

    Raises:
        ValueError: If alpha is out of range, or the combiner merges gradients themselves, or draws
            a subset of the tasks.

    Example:
    >>> combiner = CRMOGM(MGDA(), alpha=0.9)

    Reference:
        Zhou et al., *On the Convergence of Stochastic Multi-Objective Gradient Manipulation and
        Beyond* (2022), algorithm 1.
    """

    def __init__(self, combiner: Combiner, alpha: float = 0.9, name: str | None = None):
        super().__init__(combiner, name=name)
        if self.combiner.changes_gradients:
            raise ValueError(
                f"CRMOGM averages weights, and {type(combiner).__name__} merges the gradients "
                "themselves. Wrap a method that reads losses or the Gramian."
            )
        if isinstance(combiner, TaskSubset):
            raise ValueError(
                "CRMOGM would remember weights for tasks that the subset leaves out. Take the "
                "subset outside: TaskSubset(CRMOGM(...))."
            )
        check_rate(alpha=alpha)
        self.alpha = alpha

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        # K times the average, so that 1 is neutral.
        self.average = self.add_state("average", (num_tasks,), initial=1.0)

    def around(self, find: Callable[[tf.Tensor], tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(present, tf.float32)
        found = find(present) * tf.reduce_sum(mask)
        average = self.alpha * self.average + (1.0 - self.alpha) * found
        self.average.assign(tf.where(present, average, self.average))
        return tf.math.divide_no_nan(average * mask, tf.reduce_sum(mask))

    def cached_weights(self, present: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(present, tf.float32)
        return tf.math.divide_no_nan(self.average * mask, tf.reduce_sum(mask))
