"""GradNorm: tasks train at the same rate."""

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam
from mtk.combiners.gramian import GramianCombiner
from mtk.per_task import PerTask, in_task_order, plain
from mtk.ranges import check_nonnegative

# Least weight of a task, relative to a mean of 1.
LEAST = 1e-3
# Rounding may take a loss this far below zero, relative to its start.
ROUNDING = 1e-6


@keras.saving.register_keras_serializable("mtk")
class GradNorm(GramianCombiner):
    """Learns weights that give all tasks the same training rate.

    With `n_i` the norm of task i's gradient, `r_i` its relative loss `L_i / L_i(0)` divided by the
    mean of these, the weights descend `sum_i |w_i n_i - t_i|`, where the targets
    `t_i = mean(w n) r_i^alpha` are constants. Then they are normalized. A step uses the weights
    from before its own update, as in the paper.

    The rate presumes a loss that falls toward zero; for a loss of exactly zero `r_i = 0`. A loss
    that may be negative, such as a negative log-likelihood, has no such bound: its ratio to the
    start depends only on the units of the labels, and a power of it is NaN. From its first negative
    loss on, a task is given the mean rate, `r_i = 1`: its norm is balanced as at `alpha = 0`, and
    the mean is over the others. (Rounding, up to a millionth of the start, does not count as
    negative.)

    The learned weights sum to K as in the paper; the returned weights sum to one. A weight never
    falls below a thousandth of the mean, since a step could make it negative. The loss on the norms
    trains only the weights, not the network.

    Args:
        alpha: How strongly slow tasks are favored; zero only balances the norms.
        learning_rate: Adam's learning rate for the weights, whose mean is one.
        initial_losses: `L_i(0)`: one number for all, a sequence, or a dict by task name. By default
            the first loss of each task, which is that of one batch and noisy: `log(classes)` is
            better for a cross-entropy. A first loss of exactly zero is skipped.
        at: Where the gradients are taken; the paper takes them at the last shared layer.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If a number is out of range or the initial losses do not match the tasks.

    Reference:
        Chen et al., *GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
        Networks* (2018), equations 1 and 2, algorithm 1.
    """

    weighs_heads = True

    def __init__(
        self,
        alpha: float = 1.5,
        learning_rate: float = 0.025,
        initial_losses: PerTask | None = None,
        at: str = "last_layer",
        update_every: int = 1,
        name: str | None = None,
    ):
        check_nonnegative(learning_rate=learning_rate, alpha=alpha)
        super().__init__(at=at, update_every=update_every, name=name)
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.initial_losses = None
        if initial_losses is not None:
            self.initial_losses = plain("initial_losses", initial_losses)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        given = self.initial_losses
        if given is not None:
            given = in_task_order("initial_losses", given, self.task_names, num_tasks)
            if not all(loss > 0 for loss in given):
                raise ValueError(f"`initial_losses` must be positive numbers. Received: {given}")
        self.learned_weights = self.add_state("learned_weights", (num_tasks,), initial=1.0)
        # Zero: no loss yet. Negative: the task has no rate.
        self.first_losses = self.add_state("first_losses", (num_tasks,))
        self.given_losses = given
        self.adam = TaskAdam(self, self.learning_rate)

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        mask = tf.cast(present, tf.float32)
        number = tf.reduce_sum(mask)
        total = tf.reduce_sum(self.learned_weights * mask)
        norms = tf.sqrt(tf.linalg.diag_part(gramian)) * mask
        # The mean weight over the tasks present is one.
        weights = self.learned_weights * mask * tf.math.divide_no_nan(number, total)
        rates = self._rates(task_losses, present)
        weighted = weights * norms
        targets = tf.math.divide_no_nan(tf.reduce_sum(weighted), number) * rates**self.alpha
        changed = weights + self.adam.change(norms * tf.sign(weighted - targets), present)
        changed = tf.maximum(changed, LEAST) * mask
        changed *= tf.math.divide_no_nan(total, tf.reduce_sum(changed))
        self.learned_weights.assign(tf.where(present, changed, self.learned_weights))
        return tf.math.divide_no_nan(weights, number)

    def _rates(self, task_losses: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns the inverse training rates relative to their mean, `(K,)`; one without a rate."""
        first = tf.convert_to_tensor(self.first_losses)
        start = task_losses if self.given_losses is None else tf.constant(self.given_losses)
        first = tf.where(present & (first == 0.0), start, first)
        first = tf.where(present & (task_losses < -ROUNDING * first), -1.0, first)
        self.first_losses.assign(first)
        rated = present & (first > 0.0)
        ratios = tf.where(rated, tf.maximum(task_losses, 0.0), 0.0)
        ratios = tf.math.divide_no_nan(ratios, first)
        number = tf.reduce_sum(tf.cast(rated, tf.float32))
        mean = tf.math.divide_no_nan(tf.reduce_sum(ratios), number)
        # Where all losses are zero, no task is slower than the others.
        return tf.where(rated & (mean > 0.0), tf.math.divide_no_nan(ratios, mean), 1.0)
