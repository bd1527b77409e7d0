"""MoDo: MGDA by gradient steps on two parts of a batch, and descent on a third."""

import keras
import tensorflow as tf

from mtk.combiners.parts import PartsCombiner
from mtk.combiners.simplex_weights import SimplexWeights
from mtk.combiners.solvers.simplex import project
from mtk.ranges import check_nonnegative


@keras.saving.register_keras_serializable("mtk")
class MoDo(PartsCombiner):
    """Multi-objective gradient with double sampling: weights independent of the gradients.

    With J_p the task gradients of part p of the batch, in rows, the weights take a step
    `w <- P(w - gamma (J_1 J_2' w + rho w))`, with P the projection onto the simplex, and the
    network descends `J_3' w`. Two parts make the step unbiased, which the square of one part is
    not; the third makes the gradients independent of the weights.

    **Each batch is divided into three parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 3 * K gradients, of a third of the batch each. The direction is that of a third of the
    batch, and noisier than that of the whole. Heads are trained on the whole batch, by their own
    gradients divided by the number of tasks; the paper does not treat heads separately.

    Departures: the authors' code draws two batches and descends on both; the paper uses three. Its
    batches are thirds of one here, so that the length of an epoch is unchanged. Weights sum to one:
    the mean scale. A task without labels in the third part keeps its weight.

    Permuting the tasks permutes the weights. Steps scale with the squares of the gradients, so that
    `gamma` has to be tuned: scaled gradients give other weights. The result may conflict with a
    gradient. The state is K numbers.

    Args:
        gamma: Step size of the weights, at least 0.
        rho: Pull of the weights toward equal ones, at least 0.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Chen et al., *Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization
        and Conflict-Avoidance* (2023), algorithm 1.
    """

    batch_parts = 3

    def __init__(self, gamma: float = 1e-3, rho: float = 0.1, name: str | None = None):
        check_nonnegative(gamma=gamma, rho=rho)
        super().__init__(name=name)
        self.gamma = gamma
        self.rho = rho

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.task_shares = SimplexWeights(self)

    def part_weights(
        self, products: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = present[2]
        before = self.task_shares.of(takes_part)
        slope = tf.linalg.matvec(products[0, :, 1, :], before) + self.rho * before
        after = project(before - self.gamma * slope, takes_part)
        self.task_shares.keep(after, takes_part)
        none = tf.zeros_like(after)
        return tf.stack([none, none, after])
