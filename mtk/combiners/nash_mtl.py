"""Nash-MTL: the direction as a bargaining solution between the gradients."""

from typing import Annotated, Literal

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.preferring import PreferringCombiner
from mtk.combiners.solvers.fair_shares import fair_shares
from mtk.combiners.solvers.scaling import scale as scaled_gramian
from mtk.per_task import PerTask
from mtk.ranges import check_choice
from mtk.ratios import Ratios

Scale = Literal["authors", "mean", "paper"]


@keras.saving.register_keras_serializable("mtk")
class NashMTL(PreferringCombiner):
    """Computes the Nash bargaining solution: `w > 0` with `G w = 1 / w`.

    With `beta_i = w_i |g_i|` and the cosines C this is `C beta = 1 / beta`, the minimum of the
    smooth convex function `beta' C beta / 2 - sum(log(beta))`, found to rounding precision by
    damped Newton steps. The authors solve a sequence of convex programs to a loose tolerance.

    The solution has the length `|sum_i w_i g_i|^2 = K`, whatever the length of the gradients. The
    `scale` sets the length of the result; all three give the same direction:

    * `"authors"`, as in the authors' code: the Gramian is divided by its Frobenius norm, so that
      the weights solve `G w = |G|_F / w` and the result is as long as the gradients. For K equal
      gradients g, it is their **sum** `K g`, not their mean: an exception to the mean scale. Then
      it is clipped to the norm `max_norm`. A head is scaled by its task's weight before clipping.
    * `"mean"`: the weights are divided by their sum: the mean scale, and no clipping.
    * `"paper"`: the length of the equation, `sqrt(K)`; K equal gradients give `sqrt(K) g / |g|`.

    With the last two, a head gets its own gradient divided by the number of tasks.

    A preference r, normalized to mean one, gives the exponents of the Nash product: `G w = r / w`.
    A preference of zero excludes a task.

    Where the gradients are Pareto stationary there is no solution. Then all weights are zero, the
    disagreement point of the game. (The authors keep the last weights.) A zero gradient takes no
    part: its weight is zero, and K counts the others. Under `"authors"` the head of a task that
    takes no part has weight one, as in their first step: a zero head gives a zero gradient, and
    would stay zero.

    Args:
        scale: Length of the result; see above.
        max_norm: Largest norm of the result for `scale="authors"`, measured at `at`; zero disables
            clipping. Steps that reuse the weights clip as the last update did.
        preference: One number per task, by name or in task order; equal by default.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If the scale is not one of the three, `max_norm` negative or not a number,
            `update_every` less than one, the preference negative, infinite, NaN or all zero, or,
            once the tasks are known, if it does not match them.

    Reference:
        Navon et al., *Multi-Task Learning as a Bargaining Game* (2022), claim 3.1 and algorithm 1;
        `methods/weight_methods.py` of github.com/AvivNavon/nash-mtl.
    """

    def __init__(
        self,
        scale: Scale = "authors",
        max_norm: float = 1.0,
        preference: Annotated[PerTask | None, Ratios()] = None,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        check_choice(Scale, scale=scale)
        if not max_norm >= 0:
            raise ValueError(f"`max_norm` must be 0 or more. Received: {max_norm}")
        super().__init__(preference, at, update_every, name)
        self.scale = scale
        self.max_norm = max_norm
        self.weighs_heads = scale == "authors"

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        # Factor of the last clipping, undone for heads, which are not clipped.
        self.last_clip = self.add_state("last_clip", (), initial=1.0)

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = self.takes_part(present)
        cosines, lengths, directed = scaled_gramian(gramian, takes_part)
        _, preference = preferences.of_present(self.preferred, directed, lengths.dtype)
        demands = tf.where(directed, preference, tf.ones_like(lengths))
        beta, agreed = fair_shares(cosines, demands, 1.0)
        beta = tf.where(directed & agreed, beta, 0.0)
        weights = tf.math.divide_no_nan(beta, lengths)
        if self.scale == "mean":
            weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
        if self.scale == "authors":
            weights *= self._length(cosines, lengths, beta)
        return tf.cast(weights, tf.float32)

    def _length(self, cosines: tf.Tensor, lengths: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
        """Returns the factor of the solution in the authors' code, and records its clipping."""
        # sqrt(|G|_F), in units of the longest gradient.
        longest = tf.reduce_max(lengths)
        relative = tf.math.divide_no_nan(lengths, longest)
        length = longest * tf.sqrt(tf.norm(cosines * relative[:, None] * relative[None, :]))
        clip = tf.ones_like(length)
        if self.max_norm > 0.0:
            square = tf.reduce_sum(beta * tf.linalg.matvec(cosines, beta))
            norm = length * tf.sqrt(tf.maximum(square, 0.0))
            clip = self.max_norm / tf.maximum(norm, tf.constant(self.max_norm, norm.dtype))
        self.last_clip.assign(tf.cast(clip, tf.float32))
        return length * clip

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        if self.scale != "authors":
            return super().head_weights(task_weights, present)
        heads = tf.where(task_weights == 0.0, 1.0, task_weights / self.last_clip)
        return tf.where(present, heads, 0.0)
