"""MOML: training loss weights learned by MGDA on the losses of held-out examples."""

import keras
import tensorflow as tf

from mtk.combiners.adam import TaskAdam
from mtk.combiners.mgda import MGDA
from mtk.combiners.parts import PartsCombiner, over_parts
from mtk.ranges import check_nonnegative

ROUNDING = 1e-3


@keras.saving.register_keras_serializable("mtk")
class MOML(PartsCombiner):
    """Multi-objective meta learning: weights that lower the validation losses of all tasks.

    One half of the batch is for training, the other for validation. With `w = softmax(z)` and a
    small step of the network on the weighted training losses, the gradient of validation loss k
    with respect to z is `-S J_1 v_k` times the step size: the rows of J_1 are the task gradients on
    the first half, v_k is that of task k on the second, and `S = diag(w) - w w'`. MGDA finds the
    shortest vector in the hull of these K gradients, normalized to length one. Adam takes a step of
    z along it, and the network descends the losses weighted by w.

    **Each batch is divided into two parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 2 * K gradients, of half of the batch each. No second derivative is needed, since one
    small step is linear in the weights. (The paper takes several steps and differentiates them.)

    Departures from the paper and its authors' code:

    * One small step, and validation gradients from before it instead of after it. The difference is
      of second order in the step size; K backward passes and a forward pass are saved.
    * Products are over shared variables only, since only its own task reaches a head.
    * The network descends the losses of the same batch, not of another.

    Where no step of z lowers all validation losses, only Adam's momentum changes z: with two tasks
    this is so wherever they require opposite steps.

    Scaling all gradients scales the result, and permuting the tasks permutes the weights, which sum
    to one: the mean scale. The result may conflict with a gradient. Heads are scaled by the
    weights. The state is 5 * K numbers.

    Attributes:
        mgda: The solver for the shortest vector.

    Args:
        learning_rate: Adam's learning rate for z.

    Raises:
        ValueError: If the learning rate is negative or not finite.

    Reference:
        Ye et al., *Multi-Objective Meta Learning* (2021), algorithm 1, on multi-task learning
        (section 5.3).
    """

    batch_parts = 2
    weighs_heads = True

    def __init__(self, learning_rate: float = 1e-3, name: str | None = None):
        check_nonnegative(learning_rate=learning_rate)
        super().__init__(name=name)
        self.learning_rate = learning_rate
        self.mgda = MGDA("l2")

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.logits = self.add_state("logits", (num_tasks,))
        self.adam = TaskAdam(self, self.learning_rate)
        self.mgda.bind(self.task_names or [str(k) for k in range(num_tasks)], [])
        self.mgda.build(num_tasks)

    def part_weights(
        self, products: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        slopes = self._slopes(products[1, :, 0, :], present[0])
        gramian = tf.matmul(slopes, slopes, transpose_b=True)
        shares = self.mgda.task_weights(gramian, task_losses[1], present[1])
        slope = tf.linalg.matvec(slopes, shares, transpose_a=True)
        # Where the hull contains zero, only rounding is left, on which Adam would take full steps.
        slope = tf.where(tf.norm(slope) > ROUNDING, slope, 0.0)
        known = present[0] & tf.reduce_any(present[1])
        self.logits.assign_add(self.adam.change(slope, known))
        return over_parts(self._softmax(tf.reduce_any(present, 0)), present)

    def _slopes(self, cross: tf.Tensor, trains: tf.Tensor) -> tf.Tensor:
        """Returns validation loss gradients with respect to z, in rows of length one (or zero)."""
        weights = self._softmax(trains)
        mean = tf.linalg.matvec(cross, weights)
        slopes = weights * (mean[:, None] - cross)
        # First scaled so that no square overflows.
        largest = tf.reduce_max(tf.abs(slopes), 1, keepdims=True)
        slopes = tf.math.divide_no_nan(slopes, largest)
        return tf.math.divide_no_nan(slopes, tf.norm(slopes, axis=1, keepdims=True))

    def _softmax(self, present: tf.Tensor) -> tf.Tensor:
        logits = tf.where(present, self.logits, tf.float32.min)
        return tf.where(present, tf.nn.softmax(logits), 0.0)
