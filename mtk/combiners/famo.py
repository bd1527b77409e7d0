"""FAMO: all losses fall at the same rate, at the cost of one backward pass."""

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam
from mtk.combiners.log_losses import LogLossCombiner
from mtk.per_task import PerTask
from mtk.ranges import check_nonnegative


@keras.saving.register_keras_serializable("mtk")
class FAMO(LogLossCombiner):
    """Fast adaptive multitask optimization: a weighted sum of log losses.

    With `p = softmax(z)` the network descends `sum_i c p_i log(D_i)`, `D_i = L_i - b_i`, where c
    makes the weights `c p_i / D_i` of the losses sum to one. After the update the losses of the
    same batch are computed again (a second forward pass), and z takes an Adam step toward the tasks
    whose `log(D)` fell least. The trainer clips after the backward pass.

    The logarithm diverges at the bound: in the paper a loss of exactly zero counts as 1e-8 and
    takes all the weight with its zero gradient, so that nothing is trained. Here it is
    `log(D^2 + d_i^2) / 2`, with `d_i` a thousandth of the task's first observed distance. In any
    unit, this equals the logarithm as long as a loss is far from its bound relative to its start.
    Closer, the weight `p_i D / (D^2 + d_i^2)` falls, and a loss at its bound (or below it, if the
    bound is wrong) has weight zero, since it cannot be lowered. Where all losses are at their
    bounds the weights are p.

    Args:
        learning_rate: Adam's learning rate for z.
        decay: Weight decay of z (the paper's gamma), added to its gradient.
        bounds: Lower bounds b, which the losses must stay above: one for all, a sequence, or a dict
            by task name.

    Raises:
        ValueError: If the learning rate is negative or not finite, the decay negative, or, once the
            tasks are known, if the bounds do not match them.

    Reference:
        Liu et al., *FAMO: Fast Adaptive Multitask Optimization* (2023), algorithm 1.
    """

    needs_post_update_loss = True

    def __init__(
        self,
        learning_rate: float = 0.025,
        decay: float = 1e-3,
        bounds: PerTask = 0.0,
        name: str | None = None,
    ):
        check_nonnegative(learning_rate=learning_rate, decay=decay)
        super().__init__(bounds, name)
        self.learning_rate = learning_rate
        self.decay = decay

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.logits = self.add_state("logits", (num_tasks,))
        self.adam = TaskAdam(self, self.learning_rate)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        self.log_losses.see(task_losses, present)
        preferences = self._preferences(present)
        return self.log_losses.normalized_slopes(task_losses, present, preferences)

    def after_step(self, before: tf.Tensor, after: tf.Tensor, present: tf.Tensor) -> None:
        before, after = (self.log_losses.smooth(losses) for losses in (before, after))
        fall = tf.where(present, tf.math.log(before) - tf.math.log(after), 0.0)
        preferences = self._preferences(present)
        # The derivative of sum_i p_i fall_i: z rises where a loss fell less than the average.
        slope = preferences * (fall - tf.reduce_sum(preferences * fall))
        slope += self.decay * self.logits
        self.logits.assign_add(self.adam.change(slope, present))

    def _preferences(self, present: tf.Tensor) -> tf.Tensor:
        logits = tf.where(present, self.logits, tf.float32.min)
        return tf.where(present, tf.nn.softmax(logits), 0.0)
