"""DB-MTL: losses on a logarithmic scale, gradients of equal length."""

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined
from mtk.combiners.buffers import Buffers, averaged, by_task
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.log_losses import LogLosses
from mtk.combiners.solvers.scaling import scale
from mtk.finite import nan_unless
from mtk.per_task import PerTask, plain
from mtk.ranges import check_nonnegative, check_rate


@keras.saving.register_keras_serializable("mtk")
class DBMTL(GramianCombiner):
    """Dual balancing: the gradients of `log L_i`, averaged over steps, at the longest's length.

    With `h_i = g_i / L_i` the average is `m_i <- h_i + (beta / t^sigma) (m_i - h_i)`, where t
    counts the task's steps, and the direction is the mean of the `m_i max_j |m_j| / |m_i|`. (The
    authors' sum is K times as long.) For losses of one, K equal gradients g give g; otherwise the
    length is that of the gradients of the logarithms.

    Departures: an average starts with its first gradient, not at zero, where the authors' is too
    short by a factor of `1 - beta` at first; near a loss's bound the logarithm is smoothed, see
    `ScaleInvariant`, where the authors add 1e-8; an average of zero has no direction and adds
    nothing. A head is trained by the gradient of its task's log loss, divided by K.

    Permuting the tasks permutes the weights, and scaling all gradients scales the result, which may
    conflict with a gradient. With `beta=0` nothing is averaged, and the Gramian suffices. Otherwise
    a step holds all K gradients, and the state is K times the size of the trainable variables.

    Args:
        beta: Weight of the past in the averages, in `[0, 1)`.
        sigma: Decay exponent of that weight over the steps, at least 0.
        bounds: Lower bounds of the losses: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If a number is out of range or, once the tasks are known, if the bounds do not
            match them.

    Reference:
        Lin et al., *Dual-Balancing for Multi-Task Learning* (2023), algorithm 1.
    """

    def __init__(
        self,
        beta: float = 0.9,
        sigma: float = 0.0,
        bounds: PerTask = 0.0,
        name: str | None = None,
    ):
        check_rate(beta=beta)
        check_nonnegative(sigma=sigma)
        super().__init__(name=name)
        self.beta = beta
        self.sigma = sigma
        self.bounds = plain("bounds", bounds)

    @property
    def changes_gradients(self) -> bool:
        return self.beta > 0.0

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.log_losses = LogLosses(self, self.bounds)
        self.last_slopes = self.add_state("last_slopes", (num_tasks,), initial=1.0)
        if self.beta > 0.0:
            self.steps = self.add_state("steps", (num_tasks,))
            self.averages = Buffers(self, "averages")

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        slopes = self._slopes(task_losses, present)
        # Nonfinite losses may make this Gramian nonfinite, although the given one was checked.
        scaled, finite = self.problem(gramian * slopes[:, None] * slopes[None, :], present)
        return nan_unless(finite, self._balanced(scaled, present) * slopes)

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        if not self.changes_gradients:
            return super().call(task_gradients, task_losses, present, counts)
        slopes = self._slopes(task_losses, present)
        steps = self.steps + tf.cast(present, tf.float32)
        self.steps.assign(steps)
        past = self.beta / tf.maximum(steps, 1.0) ** self.sigma
        share = tf.where(steps > 1.0, 1.0 - past, 1.0)
        scaled = [rows * by_task(slopes, rows) for rows in task_gradients]
        means = averaged(self.averages.of(len(scaled)), scaled, share, present)
        gramian, finite = self.problem(gradients.gramian(means), present)
        weights = nan_unless(finite, self._balanced(gramian, present))
        return Combined(gradients.weighted_sum(means, weights), weights * slopes)

    def _slopes(self, task_losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns the derivatives of the logarithms, zero for absent tasks."""
        self.log_losses.see(task_losses, present)
        slopes = tf.where(present, self.log_losses.slopes(task_losses), 0.0)
        self.last_slopes.assign(tf.where(present, slopes, 1.0))
        return slopes

    @staticmethod
    def _balanced(gramian: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        _, lengths, _ = scale(gramian, present)
        number = tf.reduce_sum(tf.cast(present, lengths.dtype))
        weights = tf.math.divide_no_nan(tf.reduce_max(lengths), lengths)
        return tf.cast(tf.math.divide_no_nan(weights, number), tf.float32)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return super().head_weights(task_weights, present) * self.last_slopes
