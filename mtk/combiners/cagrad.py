"""CAGrad: the best worst improvement within a ball around the mean gradient."""

from collections.abc import Sequence
from typing import Annotated, Literal

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.max_min import Ball, dual
from mtk.combiners.solvers.pair import worst_mixture_of_two
from mtk.combiners.solvers.quadratic import dual_cone_projection, simplex_normal
from mtk.combiners.solvers.scaling import Scaled, scale_and_decompose
from mtk.per_task import PerTask
from mtk.ranges import check_choice, check_nonnegative
from mtk.ratios import Ratios

Rescale = Literal["1+c", "1+c^2", "none"]

# |g_w| / sum(w_i |g_i|) below which the direction is rounding error of a float32 Gramian.
SHORTEST = 1e-3


@keras.saving.register_keras_serializable("mtk")
class CAGrad(PreferringCombiner):
    """Maximizes `min_i g_i . d` over the `d` with `|d - g_0| <= c |g_0|`, `g_0` the mean gradient.

    With the `w` in the simplex that minimizes `g_w . g_0 + c |g_0| |g_w|`, `g_w = sum_i w_i g_i`,
    the solution is `d = g_0 + c |g_0| g_w / |g_w|`, divided by `1 + c` for the mean scale. For two
    tasks `w` has a closed form; for more, an interior-point method finds it to rounding precision.

    Where `g_w` vanishes (the gradients are Pareto stationary and the best worst improvement is
    zero) the formula is 0 / 0, and many `d` are solutions. The one nearest to `g_0` is taken: the
    projection of `g_0` on the directions that conflict with no gradient. (The authors' code adds a
    small number to `|g_w|`, which returns `g_0`, conflicts and all.) A zero gradient is excluded
    from the minimum but counts in the mean.

    With a preference r, normalized to mean one, `g_0` is the mean of the `r_i g_i`. A preference of
    zero excludes a task, from the minimum too.

    Attributes:
        unsolved: Number of steps so far in which the solver ran out of iterations; the best
            direction found is used.

    Args:
        c: Radius of the ball relative to `|g_0|`; zero gives the mean gradient.
        rescale: Divisor of the direction: `"1+c"`, `"1+c^2"` or `"none"`, as in the authors' code.
            Only the first gives the mean scale.
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `c` is negative or not finite, `rescale` is none of the three, `update_every`
            less than one, the preference negative, infinite, NaN or all zero, or, once the tasks
            are known, if it does not match them.

    Reference:
        Liu et al., *Conflict-Averse Gradient Descent for Multi-task Learning* (2021), equations 3
        and 4, algorithm 1.
    """

    def __init__(
        self,
        c: float = 0.5,
        rescale: Rescale = "1+c",
        preference: Annotated[PerTask | None, Ratios()] = None,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        check_nonnegative(c=c)
        check_choice(Rescale, rescale=rescale)
        super().__init__(preference, at, update_every, name)
        self.c = c
        self.rescale = rescale

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.unsolved = self.add_state("unsolved", (), dtype="int64")

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = self.takes_part(present)
        scaled, *spectrum = scale_and_decompose(gramian, takes_part)
        _, preference = preferences.of_present(self.preferred, present, scaled.lengths.dtype)
        mean_weights = tf.math.divide_no_nan(preference, tf.reduce_sum(preference))
        # From here on a vector is given by its coefficients of the unit gradients.
        mean = mean_weights * scaled.lengths
        unit_mean = tf.math.divide_no_nan(mean, _norm(scaled, mean))
        direction = unit_mean
        if self.c > 0.0:
            direction = self._direction(scaled, spectrum, unit_mean)
        added = (direction - unit_mean) * _norm(scaled, mean)
        weights = mean_weights + tf.math.divide_no_nan(added, scaled.lengths)
        divisor = {"1+c": 1.0 + self.c, "1+c^2": 1.0 + self.c**2, "none": 1.0}[self.rescale]
        return tf.cast(weights / divisor, tf.float32)

    def _direction(
        self, scaled: Scaled, spectrum: Sequence[tf.Tensor], unit_mean: tf.Tensor
    ) -> tf.Tensor:
        """Returns the solution for a mean gradient of length one."""
        if self.num_tasks == 2:
            worst, solved = worst_mixture_of_two(scaled, unit_mean, self.c), tf.constant(True)
        else:
            rows = spectrum[1] * tf.sqrt(spectrum[0])
            worst, solved = _worst_mixture(scaled, rows, unit_mean, self.c)
        length = _norm(scaled, worst)
        regular = unit_mean + self.c * tf.math.divide_no_nan(worst, length)

        def vanishing() -> tuple[tf.Tensor, tf.Tensor]:
            nearest, found = dual_cone_projection(scaled, unit_mean[None, :])
            within = _norm(scaled, nearest[0] - unit_mean) <= self.c
            return tf.where(within, nearest[0], regular), tf.where(within, found, solved)

        long = length > SHORTEST * tf.reduce_sum(worst)
        direction, solved = tf.cond(long, lambda: (regular, solved), vanishing)
        self.unsolved.assign_add(tf.cast(~solved, tf.int64))
        return direction


def _norm(scaled: Scaled, vector: tf.Tensor) -> tf.Tensor:
    square = tf.reduce_sum(vector * tf.linalg.matvec(scaled.cosines, vector))
    return tf.sqrt(tf.maximum(square, 0.0))


def _worst_mixture(
    scaled: Scaled, rows: tf.Tensor, unit_mean: tf.Tensor, c: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimizes `g_w . g_0 / |g_0| + c |g_w|` over the simplex.

    Works in the coordinates of the eigenvectors, in which row i is the unit gradient i. If all
    gradients agree with the mean, the least improvement `t` is of the size of the smallest
    gradient. If one opposes the mean by more than the ball offsets, `t` is at most the improvement
    left for that one, a negative number that may be 1e8 times as large. This is the unit of `t`,
    and the conditions of gradients smaller than it are divided by the quotient.
    """
    center = tf.linalg.matvec(rows, unit_mean, transpose_a=True)
    # A large ball is scaled to order one, together with its center.
    unit = max(c, 1.0)
    left = (tf.linalg.matvec(rows, center) + c) * scaled.lengths
    smallest = tf.reduce_min(tf.where(scaled.directed, scaled.lengths, scaled.lengths.dtype.max))
    quotient = tf.maximum(-tf.math.divide_no_nan(tf.reduce_min(left), smallest), 1.0)
    normal = quotient * simplex_normal(scaled)
    relative = 1.0 / tf.maximum(normal, 1.0)
    ball = Ball(rows * relative[:, None], center / unit, normal * relative, c / unit)
    mixture, solved = dual(ball)
    return tf.where(scaled.directed, mixture * relative, tf.zeros_like(mixture)), solved
