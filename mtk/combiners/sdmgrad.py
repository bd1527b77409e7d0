"""SDMGrad: a direction near the mean gradient, by projected gradient steps on parts of a batch."""

import keras
import tensorflow as tf

from mtk.combiners.parts import PartsCombiner
from mtk.combiners.simplex_weights import SimplexWeights
from mtk.combiners.solvers.simplex import project
from mtk.ranges import check_count, check_nonnegative

MOMENTUM = 0.5


@keras.saving.register_keras_serializable("mtk")
class SDMGrad(PartsCombiner):
    """Stochastic direction-oriented multi-objective gradient: MGDA near the mean gradient.

    With J_p the task gradients of part p of the batch, in rows, and e the equal weights, a step of
    the network takes `iterations` steps of the weights along `J_1 J_2' (w + regularization e)`,
    each projected onto the simplex, and descends `J_3' (w + regularization e)`, divided by
    `1 + regularization`: the mean scale. The larger the regularization, the nearer the direction is
    to the mean gradient.

    The steps have a momentum of 0.5, and w is kept from step to step, as in the authors' code.

    **Each batch is divided into three parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 3 * K gradients, of a third of the batch each. Heads are trained on the whole batch,
    by their own gradients divided by the number of tasks.

    Departures: the authors' parts are separate batches, here they are thirds of one batch, so that
    the length of an epoch is unchanged. Products are divided by their norm, and the step size is 1:
    with that momentum, step sizes below 3 converge if no eigenvalue exceeds one. The authors divide
    by the mean of the diagonal, which may be zero by chance and is below the largest eigenvalue,
    and take a step size of 5. A task without labels in the third part keeps its weight.

    Scaling all gradients scales the result, and permuting the tasks permutes the weights. The
    result may conflict with a gradient. The state is K numbers.

    Args:
        regularization: Weight of the mean gradient (the paper's lambda), at least 0.
        iterations: Number of steps of the weights per step of the network, at least 1.
        step_size: Size of these steps, above 0 and below 3; larger ones do not converge.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        Xiao et al., *Direction-oriented Multi-objective Learning: Simple and Provable Stochastic
        Algorithms* (2023), algorithm 1.
    """

    batch_parts = 3

    def __init__(
        self,
        regularization: float = 0.3,
        iterations: int = 20,
        step_size: float = 1.0,
        name: str | None = None,
    ):
        check_nonnegative(regularization=regularization)
        check_count(iterations=iterations)
        if not 0 < step_size < 3:
            raise ValueError(f"`step_size` must be above 0 and below 3. Received: {step_size}")
        super().__init__(name=name)
        self.regularization = regularization
        self.iterations = iterations
        self.step_size = step_size

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.task_shares = SimplexWeights(self)

    def part_weights(
        self, products: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        takes_part = present[2]
        mask = tf.cast(takes_part, tf.float32)
        equal = tf.math.divide_no_nan(mask, tf.reduce_sum(mask))
        cross = products[0, :, 1, :] * mask[:, None] * mask[None, :]
        # First scaled so that no square overflows.
        cross = tf.math.divide_no_nan(cross, tf.reduce_max(tf.abs(cross)))
        cross = tf.math.divide_no_nan(cross, tf.norm(cross))
        weights = self._descended(cross, equal, takes_part)
        self.task_shares.keep(weights, takes_part)
        weights = (weights + self.regularization * equal) / (1.0 + self.regularization)
        none = tf.zeros_like(weights)
        return tf.stack([none, none, weights])

    def _descended(self, cross: tf.Tensor, equal: tf.Tensor, takes_part: tf.Tensor) -> tf.Tensor:
        """Returns the weights after the projected steps."""
        toward_mean = self.regularization * equal

        def step(weights: tf.Tensor, velocity: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # TensorFlow would fuse two consecutive sums, with a temporary variable that persists
            # when the loop ends, so that the next step finds it and fails.
            slope = tf.linalg.matvec(cross, weights + toward_mean)
            velocity = MOMENTUM * velocity + slope
            return project(weights - self.step_size * velocity, takes_part), velocity

        start = self.task_shares.of(takes_part)
        return tf.while_loop(
            lambda *_: True,
            step,
            (start, tf.zeros_like(start)),
            maximum_iterations=self.iterations,
            parallel_iterations=1,
        )[0]
