"""FairGrad: alpha-fair shares of the direction for all gradients."""

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
    """Takes the `w > 0` with `G w = (r / w)^(1/alpha)`.

    The direction `d = sum_i w_i g_i` has, for its length, the largest alpha-fair utility
    `sum_i r_i (g_i . d)^(1-alpha) / (1-alpha)` of the improvements `g_i . d`, with the preference r
    at a mean of one. `alpha = 1` is Nash-MTL; a larger alpha favours the smallest improvement, a
    smaller one the sum.

    With `x_i = w_i |g_i|` and the cosines C the equation is `C x = c / x^(1/alpha)`, the minimum of
    a smooth convex function that damped Newton steps find to rounding. The weights are rounded to
    float32 then, of which the products `G w` show the more the more the gradients cancel. The
    authors call SciPy's least squares in each step.

    The solution has a length of its own, that of the gradients to the power `(alpha-1)/(alpha+1)`
    in the authors' code. The `scale`:

    * `"mean"`: the weights are divided by their sum, the mean scale.
    * `"paper"`: those of the equation. An exception to the mean scale.

    Where the gradients are Pareto stationary there is no solution, and all weights are zero. A
    gradient of zero has the weight zero, and a preference of zero leaves a task out; their
    heads are trained as those of the others, by their own gradients divided by the number of tasks.
    (The authors multiply heads by w.)

    Permutations permute the weights; at the mean scale, scaling all gradients scales the result; it
    conflicts with no gradient. About ten factorizations of a `(K, K)` matrix in a step.

    Args:
        alpha: Fairness, positive. Far from one (beyond 0.5 to 10) the equation becomes so
            ill-conditioned for gradients of very different size that the solver may find no
            solution; see `unsolved`.
        scale: Length of the result, see above.
        preference: One number for each task, by name or in their order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Steps between two computations of the weights.

    Attributes:
        unsolved: Steps so far without a solution, all of whose weights were zero.

    Raises:
        ValueError: If alpha is not positive or not finite, the scale none of the two,
            `update_every` less than one, the preference negative, infinite, NaN or all zero, or,
            when the tasks are known, if it does not match them.

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
