"""SDMGrad: a direction near the mean gradient, by projected steps on parts of a batch."""

import keras
import tensorflow as tf

from mtk.combiners.parts import PartsCombiner
from mtk.combiners.simplex_weights import SimplexWeights
from mtk.combiners.solvers.simplex import project
from mtk.ranges import check_count, check_nonnegative

MOMENTUM = 0.5


@keras.saving.register_keras_serializable("mtk")
class SDMGrad(PartsCombiner):
    """Stochastic direction-oriented multi-objective gradient: MGDA, held near the mean gradient.

    With J_p the task gradients of part p of the batch, in rows, and e the equal weights, a step of
    the network takes `iterations` steps of the weights along `J_1 J_2' (w + regularization e)`,
    each projected on the simplex, and descends `J_3' (w + regularization e)`, divided by
    `1 + regularization`: the mean scale. The larger the regularization, the nearer the direction
    is to the mean gradient.

    The steps have a momentum of 0.5, and w goes on from step to step, as in the authors' code.

    **Each batch is divided into three parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 3 * K gradients, of a third of the batch each. Heads are trained on the whole batch,
    by their own gradients divided by the number of tasks.

    Departures: the authors' parts are batches of their own, here they are thirds of one, so that an
    epoch is an epoch. Products are divided by their norm, and steps have the length 1: with that
    momentum, those below 3 converge if no eigenvalue exceeds one. The authors divide by the mean of
    the diagonal, which chance may bring to zero and the largest eigenvalue exceeds, and take steps
    of 5. A task without labels in the third part rests.

    Scaled gradients scale the result, and permutations permute the weights. The result may conflict
    with a gradient. The state is K numbers.

    Args:
        regularization: Weight of the mean gradient (the paper's lambda), at least 0.
        iterations: Steps of the weights in a step of the network, 1 or more.
        step_size: Length of these steps, above 0 and below 3: those above do not converge.

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
            raise ValueError(f"`step_size` is above 0 and below 3. Received: {step_size}")
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
        # First to a size at which no square leaves the range of numbers.
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
            # Two sums in a row TensorFlow would make one of, with a variable for the time being
            # that stays where a loop ends: the next step finds it and stops.
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
