"""FairGrad: an alpha-fair direction for all gradients."""

from typing import Annotated, Literal

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.fair_shares import fair_shares
from mtk.combiners.solvers.scaling import scale as scaled_gramian
from mtk.per_task import PerTask
from mtk.ranges import check_choice, check_positive
from mtk.ratios import Ratios

Scale = Literal["mean", "paper"]


@keras.saving.register_keras_serializable("mtk")
class FairGrad(PreferringCombiner):
    """Solves `G w = (r / w)^(1/alpha)` for the weights `w > 0`.

    The direction `d = sum_i w_i g_i` maximizes, among directions of its length, the alpha-fair
    utility `sum_i r_i (g_i . d)^(1-alpha) / (1-alpha)` of the improvements `g_i . d`, with the
    preference r normalized to mean one. `alpha = 1` is Nash-MTL; a larger alpha favors the smallest
    improvement, a smaller one the sum.

    With `x_i = w_i |g_i|` and the cosines C the equation is `C x = c / x^(1/alpha)`, whose solution
    is the minimum of a smooth convex function, found to rounding precision by damped Newton steps.
    The weights are then rounded to float32, which affects the products `G w` the more the gradients
    cancel. The authors call SciPy's least squares in each step.

    In the authors' code the length of the solution is that of the gradients to the power
    `(alpha-1)/(alpha+1)`. The `scale`:

    * `"mean"`: the weights are divided by their sum, the mean scale.
    * `"paper"`: the weights solve the equation. An exception to the mean scale.

    Where the gradients are Pareto stationary there is no solution, and all weights are zero. A zero
    gradient has weight zero, and a preference of zero excludes a task; their heads are trained as
    all others, by their own gradients divided by the number of tasks. (The authors multiply heads
    by w.)

    Permuting the tasks permutes the weights; at the mean scale, scaling all gradients scales the
    result; it conflicts with no gradient. Each step takes about ten factorizations of a `(K, K)`
    matrix.

    Args:
        alpha: Fairness, positive. Outside 0.5 to 10 the equation becomes so ill-conditioned for
            gradients of very different size that the solver may find no solution; see `unsolved`.
        scale: Length of the result; see above.
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Attributes:
        unsolved: Number of steps so far without a solution, in which all weights were zero.

    Raises:
        ValueError: If alpha is not positive or not finite, the scale is neither of the two,
            `update_every` less than one, the preference negative, infinite, NaN or all zero, or,
            once the tasks are known, if it does not match them.

    Reference:
        Ban & Ji, *Fair Resource Allocation in Multi-Task Learning* (2024), equation 6 and
        algorithm 1; github.com/OptMN-Lab/fairgrad.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        scale: Scale = "mean",
        preference: Annotated[PerTask | None, Ratios()] = None,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        check_positive(alpha=alpha)
        check_choice(Scale, scale=scale)
        super().__init__(preference, at, update_every, name)
        self.alpha = alpha
        self.scale = scale

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.unsolved = self.add_state("unsolved", (), dtype="int64")

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = self.takes_part(present)
        cosines, lengths, directed = scaled_gramian(gramian, takes_part)
        _, preference = preferences.of_present(self.preferred, directed, lengths.dtype)
        # In units of the geometric mean of the lengths.
        logs = tf.math.log(tf.where(directed, lengths, tf.ones_like(lengths)))
        number = tf.reduce_sum(tf.cast(directed, lengths.dtype))
        mean = tf.exp(tf.math.divide_no_nan(tf.reduce_sum(logs), number))
        relative = tf.where(directed, lengths / mean, tf.ones_like(lengths))
        exponent = 1.0 / self.alpha
        demands = tf.where(directed, preference, tf.ones_like(lengths)) ** exponent
        shares, agreed = fair_shares(cosines, demands * relative ** (exponent - 1.0), exponent)
        self.unsolved.assign_add(tf.cast(~agreed, tf.int64))
        weights = tf.where(directed & agreed, shares / relative, tf.zeros_like(shares))
        if self.scale == "mean":
            weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
        else:
            weights *= mean ** (-2.0 / (1.0 + exponent))
        return tf.cast(weights, tf.float32)
