"""MOML: weights of the training losses, by MGDA on the losses of other examples."""

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

    One half of the batch trains, the other validates. With `w = softmax(z)` and a small step of
    the network on the weighted training losses, the validation loss of task k changes by z as
    `-S J_1 v_k`, up to the length of the step: J_1 are the task gradients on the first half, in
    rows, v_k is that of task k on the second, and `S = diag(w) - w w'`. MGDA finds the shortest
    vector in the hull of these K slopes, each of length one, Adam takes a step of z along it, and
    the network descends the losses, weighted by w.

    **Each batch is divided into two parts**; see `PartsCombiner`. A step costs K backward passes
    and holds 2 * K gradients, of half of the batch each. No second derivative is needed, as one
    small step is linear in the weights. (The paper takes several, and differentiates through them.)

    Departures from the paper and its authors' code:

    * One small step, and validation gradients from before it and not after it, which is the same up
      to the square of its length: K backward passes and a forward pass less.
    * Products are those of shared variables: a head is reached by its own task alone.
    * The network descends the losses of the same batch, not of another one.

    Where no step of z lowers all validation losses, z stays but for Adam's momentum: with two tasks
    this is so wherever they want opposite steps.

    Scaled gradients scale the result, and permutations permute the weights, which sum to one: the
    mean scale. The result may conflict with a gradient. Heads are scaled by the weights. The state
    is 5 * K numbers.

    Attributes:
        mgda: Solves for the shortest vector.

    Args:
        learning_rate: Length of the steps of z.

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
        # Where the hull holds zero, what is left is rounding: Adam would take full steps by it.
        slope = tf.where(tf.norm(slope) > ROUNDING, slope, 0.0)
        known = present[0] & tf.reduce_any(present[1])
        self.logits.assign_add(self.adam.change(slope, known))
        return over_parts(self._softmax(tf.reduce_any(present, 0)), present)

    def _slopes(self, cross: tf.Tensor, trains: tf.Tensor) -> tf.Tensor:
        """Returns the slopes of the validation losses by z, in rows of length one (or zero)."""
        weights = self._softmax(trains)
        mean = tf.linalg.matvec(cross, weights)
        slopes = weights * (mean[:, None] - cross)
        # First to a size at which no square leaves the range of numbers.
        largest = tf.reduce_max(tf.abs(slopes), 1, keepdims=True)
        slopes = tf.math.divide_no_nan(slopes, largest)
        return tf.math.divide_no_nan(slopes, tf.norm(slopes, axis=1, keepdims=True))

    def _softmax(self, present: tf.Tensor) -> tf.Tensor:
        logits = tf.where(present, self.logits, tf.float32.min)
        return tf.where(present, tf.nn.softmax(logits), 0.0)
