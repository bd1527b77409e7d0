"""MGDA: the shortest vector in the convex hull of the gradients."""

from typing import Annotated, Literal

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.quadratic import PREFERENCE, STEPS, nearest_to_zero
from mtk.combiners.solvers.scaling import Scaled, scale
from mtk.per_task import PerTask
from mtk.ranges import check_choice
from mtk.ratios import Ratios

Normalization = Literal["none", "l2", "loss", "loss+"]


@keras.saving.register_keras_serializable("mtk")
class MGDA(PreferringCombiner):
    """Multiple gradient descent: `w = argmin |sum_i w_i g_i|^2` over `w >= 0, sum(w) = 1`.

    The minimum is found to rounding precision, in closed form for two tasks and by an
    interior-point method for more; the public code stops after a fixed number of Frank-Wolfe steps,
    short of the minimum if gradients differ in size. If the minimizer is not unique, as for
    parallel gradients under `"l2"`, the weights nearest to equal ones are taken.

    A zero gradient is the shortest vector: it takes all the weight, and the shared variables do not
    change (they are Pareto stationary). A normalization cannot be applied to it and leaves it out.

    With a preference r, normalized to mean one, the weights are those of the shortest vector in the
    hull of the `g_i / r_i`. Among directions of equal length it maximizes the least
    `g_i . d / r_i`: the improvements are proportional to r. The weights of the `g_i` are divided by
    their sum, the mean scale. A preference of zero excludes a task.

    Attributes:
        unsolved: Number of steps so far in which the solver ran out of iterations; the best weights
            found are used.

    Args:
        normalization: Divisor of each gradient *for finding the weights*, while the update uses the
            original gradients: none, its norm (`"l2"`), its loss (`"loss"`), or both (`"loss+"`). A
            task whose divisor is not positive is left out.
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; `"representation"` is the authors' MGDA-UB.
        weighs_heads: Whether a head is scaled by its task's weight, as in the authors' code.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If the normalization is not one of the four, `update_every` less than one, the
            preference negative, infinite, NaN or all zero, or, once the tasks are known, if it does
            not match them.

    Reference:
        Désidéri, *Multiple-gradient descent algorithm* (2012); Sener & Koltun, *Multi-Task Learning
        as Multi-Objective Optimization* (2018), equation 3, and equation 4 for two tasks.
    """

    def __init__(
        self,
        normalization: Normalization = "none",
        preference: Annotated[PerTask | None, Ratios()] = None,
        at: str = "parameters",
        weighs_heads: bool = True,
        update_every: int = 1,
        name: str | None = None,
    ):
        check_choice(Normalization, normalization=normalization)
        super().__init__(preference, at, update_every, name)
        self.normalization = normalization
        self.weighs_heads = weighs_heads

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.unsolved = self.add_state("unsolved", (), dtype="int64")

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        preferred = self.takes_part(present)
        cosines, lengths, directed = scale(gramian, preferred)
        _, preference = preferences.of_present(self.preferred, present, lengths.dtype)
        divisors = self._divisors(lengths, tf.cast(task_losses, lengths.dtype)) * preference
        takes_part = preferred & (divisors > 0.0)
        lengths = tf.where(takes_part, tf.math.divide_no_nan(lengths, divisors), 0.0)
        zero = tf.cast(takes_part & ~directed, lengths.dtype)
        normalized = Scaled(cosines, lengths, directed & takes_part)
        if self.num_tasks == 2:
            shortest, solved = _pair(normalized), tf.constant(True)
        else:
            shortest, solved = nearest_to_zero(normalized)
        self.unsolved.assign_add(tf.cast(~solved, tf.int64))
        weights = tf.where(tf.reduce_any(zero > 0.0), zero, shortest)
        weights = tf.math.divide_no_nan(weights, preference)
        # If no gradient takes part, no task is preferred.
        everyone = tf.cast(preferred, lengths.dtype)
        weights = tf.where(tf.reduce_sum(weights) > 0.0, weights, everyone)
        return tf.cast(tf.math.divide_no_nan(weights, tf.reduce_sum(weights)), tf.float32)

    def _divisors(self, lengths: tf.Tensor, task_losses: tf.Tensor) -> tf.Tensor:
        match self.normalization:
            case "l2":
                return lengths
            case "loss":
                return task_losses
            case "loss+":
                return task_losses * lengths
        return tf.ones_like(lengths)


def _pair(scaled: Scaled) -> tf.Tensor:
    """Solves for two tasks: `w_1 = clip((g_2 - g_1) . g_2 / |g_1 - g_2|^2, 0, 1)`.

    Prefers equal weights as `nearest_to_zero` does.
    """
    cosines, lengths, directed = scaled
    # The unit is the longer gradient, so that no square overflows.
    first, second = tf.unstack(tf.math.divide_no_nan(lengths, tf.reduce_max(lengths)))
    product = first * second * cosines[0, 1]
    distance = first**2 + second**2 - 2.0 * product
    preference = 2.0**0.5 * PREFERENCE * tf.minimum(first, second) ** 2
    share = tf.constant(0.5, lengths.dtype)
    for _ in range(STEPS):
        share = (second**2 - product + preference * share) / (distance + preference)
        share = tf.clip_by_value(share, 0.0, 1.0)
    both = tf.stack([share, 1.0 - share])
    return tf.where(tf.reduce_all(directed), both, tf.cast(directed, lengths.dtype))
