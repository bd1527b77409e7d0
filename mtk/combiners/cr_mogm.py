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

    Weights that are computed from a batch are correlated with the gradients that they multiply,
    which biases the direction; an average over many batches hardly is. It starts at equal weights,
    `1 / K`.

    A task without labels has weight zero, and its average is unchanged; the weights of the others
    are multiplied by K over the number present, as if the absent task had the mean weight.

    The mean scale and the behavior under permuted tasks and scaled gradients are those of the
    method; freedom from conflicts is lost by averaging. Heads are scaled as by the method, but by
    averages where the method uses its weights. The state is K numbers; 2 * K around `NashMTL`,
    whose heads are not clipped.

    Args:
        combiner: The method, which reads losses or the Gramian. With its `update_every`, each
            update counts once.
        alpha: Weight of the past in the average, in `[0, 1)`.

    Raises:
        ValueError: If alpha is out of range, or the combiner changes the gradients themselves or
            draws a subset of the tasks.

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
                f"CRMOGM averages weights, but {type(combiner).__name__} merges the gradients "
                "themselves. Wrap a method that reads losses or the Gramian."
            )
        if isinstance(combiner, TaskSubset):
            raise ValueError(
                "CRMOGM would keep averaging the weights of tasks that the subset leaves out. "
                "Apply the subset outside: TaskSubset(CRMOGM(...))."
            )
        check_rate(alpha=alpha)
        self.alpha = alpha

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        # K times the averages, so that 1 is neutral.
        self.average = self.add_state("average", (num_tasks,), initial=1.0)
        if self._averages_heads:
            self.head_average = self.add_state("head_average", (num_tasks,), initial=1.0)

    @property
    def _averages_heads(self) -> bool:
        """Whether heads have separate weights, as those of Nash-MTL before clipping."""
        return self.weighs_heads and not self.scales_whole_losses

    def around(self, find: Callable[[tf.Tensor], tf.Tensor], present: tf.Tensor) -> tf.Tensor:
        found = find(present)
        self._move(self.average, found, present)
        if self._averages_heads:
            self._move(self.head_average, self.combiner.head_weights(found, present), present)
        return self.cached_weights(present)

    def cached_weights(self, present: tf.Tensor) -> tf.Tensor:
        return _of_present(self.average, present)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        if self._averages_heads:
            return _of_present(self.head_average, present)
        return super().head_weights(task_weights, present)

    def _move(self, average: keras.Variable, found: tf.Tensor, present: tf.Tensor) -> None:
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        moved = self.alpha * average + (1.0 - self.alpha) * found * number
        average.assign(tf.where(present, moved, average))


def _of_present(average: keras.Variable, present: tf.Tensor) -> tf.Tensor:
    mask = tf.cast(present, tf.float32)
    return tf.math.divide_no_nan(average * mask, tf.reduce_sum(mask))
