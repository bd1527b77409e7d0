"""STCH: a smooth maximum of the losses."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk.combiners import preference as preferences
from mtk.combiners.log_losses import LogLossCombiner
from mtk.per_task import PerTask
from mtk.ranges import check_count, check_nonnegative, check_positive
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class STCH(LogLossCombiner):
    """Smooth Tchebycheff scalarization: descends `mu log(sum_i exp(f_i / mu))`.

    `f_i = log(r_i L_i / M_i)` measures how far the loss of task i is above its reference `M_i`,
    where r is the preference, normalized to mean one. With `p = softmax(f / mu)` the weight of a
    task is `p_i / L_i`, divided by the sum over the tasks: the mean scale. (The authors' code does
    not divide, so that its step grows as losses fall.) A small mu approaches the maximum, a large
    one `ScaleInvariant`, where the preference matters less and less.

    Departure: in the paper, whose f are positive, the preference multiplies f. These logarithms are
    negative for losses below their references, where a larger factor would lower a task's weight.

    Training starts with the weights of `ScaleInvariant` at the same preference. After
    `warm_up_epochs` the references are measured: the mean losses of one epoch, still with those
    weights. The combiner counts its own steps, so that training resumes in the same phase. For a
    task without labels in that epoch, or never above its bound, it is its first loss afterwards.

    A loss counts as its distance from its bound, `L_i - b_i`, and near it as in `ScaleInvariant`. A
    preference of zero excludes a task and its head.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass; the state is four numbers per task.

    Args:
        steps_per_epoch: Length of an epoch, in steps.
        mu: Smoothing parameter.
        warm_up_epochs: Epochs before the one in which the references are measured.
        preference: One number per task, by name or in task order; equal by default.
        bounds: Lower bounds b of the losses: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If `steps_per_epoch` or `mu` is not positive, `warm_up_epochs` negative, the
            preference negative, infinite, NaN or all zero, or, once the tasks are known, if
            preference or bounds do not match them.

    Reference:
        Lin et al., *Smooth Tchebycheff Scalarization for Multi-Objective Optimization* (2024),
        equation 7; `STCH_MTL` of github.com/Xi-L/STCH for logarithms, references and warm-up.
    """

    def __init__(
        self,
        steps_per_epoch: int,
        mu: float = 1.0,
        warm_up_epochs: int = 4,
        preference: Annotated[PerTask | None, Ratios()] = None,
        bounds: PerTask = 0.0,
        name: str | None = None,
    ):
        check_count(steps_per_epoch=steps_per_epoch)
        check_nonnegative(warm_up_epochs=warm_up_epochs)
        check_positive(mu=mu)
        super().__init__(bounds, name)
        self.steps_per_epoch = steps_per_epoch
        self.mu = mu
        self.warm_up_epochs = warm_up_epochs
        self.preference = preferences.checked(preference)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.preferred = preferences.in_order(self.preference, self.task_names, num_tasks)
        self.step = self.add_state("step", (), dtype="int64")
        self.loss_sum = self.add_state("loss_sum", (num_tasks,))
        self.loss_count = self.add_state("loss_count", (num_tasks,))

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        self.log_losses.see(task_losses, present)
        smooth = self.log_losses.smooth(task_losses)
        measured_from = self.warm_up_epochs * self.steps_per_epoch
        is_measured = self.step >= measured_from + self.steps_per_epoch
        takes_part, preference = preferences.of_present(self.preferred, present, tf.float32)
        above = self._above_reference(smooth) + tf.math.log(tf.where(takes_part, preference, 1.0))
        far = tf.where(takes_part, above / self.mu, tf.float32.min)
        shares = tf.where(is_measured, tf.nn.softmax(far), preference)
        shares = tf.where(takes_part, shares, 0.0)
        self._measure(smooth, present, self.step >= measured_from, is_measured)
        self.step.assign_add(1)
        return self.log_losses.normalized_slopes(task_losses, takes_part, shares)

    def _above_reference(self, smooth: tf.Tensor) -> tf.Tensor:
        """Returns `log(L / M)`, zero for a task without a reference."""
        count = tf.convert_to_tensor(self.loss_count)
        reference = tf.math.divide_no_nan(tf.convert_to_tensor(self.loss_sum), count)
        known = reference > 0.0
        above = tf.math.log(smooth) - tf.math.log(tf.where(known, reference, 1.0))
        return tf.where(known, above, 0.0)

    def _measure(
        self, smooth: tf.Tensor, present: tf.Tensor, begun: tf.Tensor, ended: tf.Tensor
    ) -> None:
        unknown = tf.convert_to_tensor(self.loss_count) == 0.0
        # A loss at its bound is no reference, since any loss would be far above it.
        counts_now = present & begun & (unknown | ~ended) & self.log_losses.seen()
        counts = tf.cast(counts_now, tf.float32)
        self.loss_sum.assign_add(smooth * counts)
        self.loss_count.assign_add(counts)
