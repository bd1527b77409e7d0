"""Logarithms of losses that may reach zero."""

import keras
import tensorflow as tf

from mtk.combiners.base import Combiner
from mtk.combiners.losses import LossCombiner
from mtk.per_task import PerTask, in_task_order, plain

# Distance from its bound, relative to the first one, at which a loss counts as at the bound.
CLOSE = 1e-3
# Far above the least normal float32 number.
SMALLEST = 1e-30


class LogLosses:
    """The logarithms of the losses' distances from their lower bounds, `log(L - b)`.

    The logarithm diverges at the bound. Here it is that of `S = sqrt(D^2 + d^2)`, where
    `D = max(L - b, 0)` and d is a thousandth of the task's first positive distance. Far from the
    bound relative to the start, in any unit, this equals the logarithm. Its derivative `D / S^2`
    falls to zero at the bound and stays zero below it (where the bound is wrong).

    Args:
        combiner: The owner of the state; call this in its `build`.
        bounds: Lower bounds b: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If the bounds do not match the tasks.
    """

    def __init__(self, combiner: Combiner, bounds: PerTask):
        names, number = combiner.task_names, combiner.num_tasks
        self.lowest = tuple(in_task_order("bounds", bounds, names, number))
        self.names = names or tuple(map(str, range(number)))
        self.method = type(combiner).__name__
        # Zero: no positive distance yet.
        self.first_distances = combiner.add_state("first_distances", (number,))
        # One: the loss was below its bound by more than rounding.
        self.below = combiner.add_state("below_bounds", (number,))

    def see(self, task_losses: tf.Tensor, present: tf.Tensor) -> None:
        """Records the first distances; call this once per step, before the other methods.

        Args:
            task_losses: Tensor `(K,)`.
            present: Boolean tensor `(K,)`.
        """
        first = tf.convert_to_tensor(self.first_distances)
        distances = self.distances(task_losses)
        self.first_distances.assign(tf.where(present & (first == 0.0), distances, first))
        is_below = present & (tf.constant(self.lowest) - task_losses > CLOSE * first)
        self.below.assign(tf.where(is_below, 1.0, tf.convert_to_tensor(self.below)))

    def warning(self) -> str:
        """Returns a warning about losses that were below their bounds; empty if there are none.

        Reading the state waits for the last step.
        """
        below = keras.ops.convert_to_numpy(self.below) > 0.0
        tasks = [name for name, is_below in zip(self.names, below, strict=True) if is_below]
        if not tasks:
            return ""
        bounds = [bound for bound, is_below in zip(self.lowest, below, strict=True) if is_below]
        return (
            f"The losses of {tasks} fell below {bounds}, the `bounds` of {self.method}, which "
            "then gives these tasks little or no weight. Use smaller `bounds` that the losses stay "
            "above."
        )

    def seen(self) -> tf.Tensor:
        """Returns which tasks have been above their bounds so far, boolean `(K,)`."""
        return tf.convert_to_tensor(self.first_distances) > 0.0

    def distances(self, task_losses: tf.Tensor) -> tf.Tensor:
        """Returns D, `(K,)`.

        Args:
            task_losses: Tensor `(K,)`.
        """
        return tf.maximum(task_losses - tf.constant(self.lowest), 0.0)

    def smooth(self, task_losses: tf.Tensor) -> tf.Tensor:
        """Returns S, `(K,)`, the positive argument of the logarithm.

        Args:
            task_losses: Tensor `(K,)`.
        """
        distances = self.distances(task_losses)
        close = CLOSE * tf.convert_to_tensor(self.first_distances)
        longer, shorter = tf.maximum(distances, close), tf.minimum(distances, close)
        root = tf.sqrt(1.0 + tf.math.divide_no_nan(shorter, longer) ** 2)
        # The first distance is unknown for a loss that was never above its bound.
        return tf.maximum(longer * root, SMALLEST)

    def slopes(self, task_losses: tf.Tensor) -> tf.Tensor:
        """Returns `D / S^2`, `(K,)`: the derivatives of the logarithms.

        Args:
            task_losses: Tensor `(K,)`.
        """
        smooth = self.smooth(task_losses)
        return self.distances(task_losses) / smooth / smooth

    def normalized_slopes(
        self, task_losses: tf.Tensor, present: tf.Tensor, shares: tf.Tensor
    ) -> tf.Tensor:
        """Returns the derivatives of `sum_i p_i log(S_i)`, divided by their sum.

        Args:
            task_losses: Tensor `(K,)`.
            present: Boolean tensor `(K,)`.
            shares: Tensor `(K,)`, p; zero for absent tasks.

        Returns:
            Tensor `(K,)` with a sum of one; proportional to p where all losses are at their bounds.
        """
        distances, smooth = self.distances(task_losses), self.smooth(task_losses)
        # In units of the smallest distance no quotient overflows.
        away = present & (distances > 0.0)
        unit = tf.reduce_min(tf.where(away, smooth, smooth.dtype.max))
        quotients = tf.where(away, (unit / smooth) * (distances / smooth), 0.0)
        weights = shares * quotients
        weights = tf.where(tf.reduce_sum(weights) > 0.0, weights, shares)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))


class LogLossCombiner(LossCombiner):
    """Base class of combiners that weigh tasks by the logarithms of their losses.

    Args:
        bounds: Lower bounds b of the losses: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If, once the tasks are known, the bounds do not match them.
    """

    def __init__(self, bounds: PerTask = 0.0, name: str | None = None):
        super().__init__(name=name)
        self.bounds = plain("bounds", bounds)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.log_losses = LogLosses(self, self.bounds)
