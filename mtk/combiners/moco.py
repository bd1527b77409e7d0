"""MoCo: MGDA by gradient steps, on averaged gradients."""

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.buffers import Buffers, averaged
from mtk.combiners.simplex_weights import SimplexWeights
from mtk.combiners.solvers.simplex import project
from mtk.ranges import check_nonnegative


@keras.saving.register_keras_serializable("mtk")
class MoCo(Combiner):
    """Multi-objective gradient correction: averaged gradients, and weights learned by descent.

    In step t the averages are `y_i <- y_i - b (y_i - g_i)`, `b = beta / sqrt(t)`, and the weights
    `w <- P(w - c (Y Y' w + rho w))`, `c = gamma / sqrt(t)`, with P the projection onto the simplex.
    The direction is `sum_i w_i y_i`: the mean scale. Weights computed from one batch are correlated
    with the gradients that they multiply, which biases the direction; these weights change slowly.

    Departures: an average starts with its first gradient, not at zero. The projection is the
    Euclidean one, as in the paper, where the authors' code takes a softmax, and gradients are not
    divided by their norms: the steps of w scale with the squared norms, so that `gamma` has to be
    tuned. For the averages t counts each task's own steps, for w all steps.

    Permuting the tasks permutes the weights. Scaled gradients give other weights, and the result
    may conflict with a gradient. A step holds all K gradients, and the state is K times the
    trainable variables. Heads are trained by their own gradients, divided by the number of tasks.

    Args:
        beta: Step size of the averages, in `(0, 1]`.
        gamma: Step size of the weights, at least 0.
        rho: Pull of the weights toward equal ones, at least 0.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Fernando et al., *Mitigating Gradient Bias in Multi-objective Learning: A Provably
        Convergent Stochastic Approach* (2023), algorithm 1.
    """

    reads = "gradients"

    def __init__(
        self, beta: float = 0.5, gamma: float = 0.1, rho: float = 0.0, name: str | None = None
    ):
        if not 0 < beta <= 1:
            raise ValueError(f"`beta` must be above 0 and at most 1. Received: {beta}")
        check_nonnegative(gamma=gamma, rho=rho)
        super().__init__(name=name)
        self.beta = beta
        self.gamma = gamma
        self.rho = rho

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.step = self.add_state("step", ())
        self.steps = self.add_state("steps", (num_tasks,))
        self.task_shares = SimplexWeights(self)
        self.averages = Buffers(self, "averages")

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del task_losses, counts
        mask = tf.cast(present, tf.float32)
        steps = self.steps + mask
        self.steps.assign(steps)
        share = tf.where(steps > 1.0, self.beta / tf.sqrt(tf.maximum(steps, 1.0)), 1.0)
        means = averaged(self.averages.of(len(task_gradients)), task_gradients, share, present)
        weights = self._descended(gradients.gramian(means), present)
        return Combined(gradients.weighted_sum(means, weights), weights)

    def _descended(self, gramian: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Takes a descent step of the weights; returns them."""
        self.step.assign_add(1.0)
        before = self.task_shares.of(present)
        slope = tf.linalg.matvec(gramian, before) + self.rho * before
        after = project(before - self.gamma / tf.sqrt(self.step) * slope, present)
        self.task_shares.keep(after, present)
        return after
