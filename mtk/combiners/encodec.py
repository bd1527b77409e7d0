"""EnCodec's balancer: each gradient gets a fixed share of the total norm."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.gramian import GramianCombiner
from mtk.per_task import PerTask
from mtk.ranges import check_positive, check_rate
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class EnCodecBalancer(GramianCombiner):
    """Rescales the gradients of the features to fixed shares of a total norm.

    With `n_i` the moving average of the norm of task i's gradient, the weight is
    `w_i = R p_i / n_i` for the shares p, which sum to one, and the total R. The units of the losses
    do not matter: a share is the task's part of the direction. The gradients are with respect to
    the features that the heads read; the authors' are with respect to the output of a decoder.

    Departures: for the mean scale the total R is the mean of the `n_i`, weighted by p, unless it is
    given (the authors' is one), and the norm is that of the whole batch's gradient, not the mean
    over examples. An average starts with the first nonzero norm. A gradient that has always been
    zero has weight zero.

    Permuting the tasks permutes the weights. Scaling all gradients scales the result, if R is not
    given; it may conflict with a gradient. The state is K numbers. Heads are trained by their own
    gradients, divided by the number of tasks.

    Args:
        preference: The shares, by name or in task order, of which only the ratios matter; equal by
            default. Zero leaves a task out.
        total_norm: R; by default the mean scale.
        decay: Weight of the past in the averages, in `[0, 1)`.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If a number is out of range, the preference negative, infinite, NaN or all zero,
            or, once the tasks are known, if it does not match them.

    Reference:
        Défossez et al., *High Fidelity Neural Audio Compression* (2022), section 3.4, equation 5.
    """

    def __init__(
        self,
        preference: Annotated[PerTask | None, Ratios()] = None,
        total_norm: float | None = None,
        decay: float = 0.999,
        at: str = "representation",
        update_every: int = 1,
        name: str | None = None,
    ):
        if total_norm is not None:
            check_positive(total_norm=total_norm)
        check_rate(decay=decay)
        super().__init__(at=at, update_every=update_every, name=name)
        self.preference = preferences.checked(preference)
        self.total_norm = total_norm
        self.decay = decay

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.preferred = preferences.in_order(self.preference, self.task_names, num_tasks)
        self.norms = self.add_state("norms", (num_tasks,))

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        found = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
        before = tf.convert_to_tensor(self.norms)
        moved = tf.where(before > 0.0, self.decay * before + (1.0 - self.decay) * found, found)
        now = tf.where(present, moved, before)
        self.norms.assign(now)
        _, shares = preferences.of_present(self.preferred, present & (now > 0.0), tf.float32)
        shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares))
        total = tf.reduce_sum(shares * now) if self.total_norm is None else self.total_norm
        return tf.math.divide_no_nan(shares * total, now)
