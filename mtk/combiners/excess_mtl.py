"""ExcessMTL: more weight for tasks that are further from their optimum."""

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.buffers import Buffers, of_present
from mtk.ranges import check_count, check_nonnegative


@keras.saving.register_keras_serializable("mtk")
class ExcessMTL(Combiner):
    """Weighs tasks by their excess risks, estimated from gradients.

    The excess of a loss over its minimum is estimated by a second-order expansion with Adagrad's
    approximation of the Hessian: `e_i = sum(g_i^2 / sqrt(S_i))` over the elements, where `S_i` is
    the sum of the squares of task i's gradients so far. The update is
    `w_i <- w_i exp(eta e_i / e_i(0))`, normalized to a sum of one: the mean scale. (The authors'
    sum to K.) A loss that is large because of noisy labels has no large excess risk.

    Departure: `e_i(0)` is the mean over the first `warm_up` steps of the task, in which its weight
    does not change; the authors' code takes one batch. A zero gradient has no excess.

    Permuting the tasks permutes the weights, and scaling all gradients scales the result, which may
    conflict with a gradient. An absent task's state is unchanged. A step holds all K gradients; the
    state is K times the trainable variables. A head is scaled by its task's weight, as by the
    authors.

    Args:
        warm_up: Number of steps over which the baseline is averaged, at least 1; the authors use 3
            epochs.
        step_size: eta, at least 0.

    Raises:
        ValueError: If a number is out of range.

    Reference:
        He et al., *Robust Multi-Task Learning with Excess Risks* (2024), equation 5, algorithm 1.
    """

    reads = "gradients"
    weighs_heads = True

    def __init__(self, warm_up: int = 1000, step_size: float = 0.01, name: str | None = None):
        check_count(warm_up=warm_up)
        check_nonnegative(step_size=step_size)
        super().__init__(name=name)
        self.warm_up = warm_up
        self.step_size = step_size

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.steps = self.add_state("steps", (num_tasks,))
        self.baselines = self.add_state("baselines", (num_tasks,))
        self.logits = self.add_state("logits", (num_tasks,))
        self.squares = Buffers(self, "squares")

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del task_losses, counts
        weights = self._weights(self._excess(of_present(task_gradients, present)), present)
        return Combined(gradients.weighted_sum(task_gradients, weights), weights)

    def _excess(self, task_gradients: list[tf.Tensor]) -> tf.Tensor:
        """Updates the sums of squares; returns the excess risks `(K,)`."""
        total: tf.Tensor = 0.0
        buffers = self.squares.of(len(task_gradients))
        for buffer, rows in zip(buffers, task_gradients, strict=True):
            squares = tf.convert_to_tensor(buffer) + rows**2
            buffer.assign(squares)
            parts = tf.abs(rows) * tf.math.divide_no_nan(tf.abs(rows), tf.sqrt(squares))
            total += tf.reduce_sum(tf.reshape(parts, (self.num_tasks, -1)), 1)
        return total

    def _weights(self, excess: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        mask = tf.cast(present, tf.float32)
        steps = self.steps + mask
        self.steps.assign(steps)
        learns = present & (steps > self.warm_up)
        mean = self.baselines + (excess - self.baselines) / tf.maximum(steps, 1.0)
        self.baselines.assign(tf.where(present & ~learns, mean, self.baselines))
        relative = tf.where(learns, tf.math.divide_no_nan(excess, self.baselines), 0.0)
        # Normalization cancels a common term; a task in warm-up or absent stays at the mean.
        number = tf.reduce_sum(tf.cast(learns, tf.float32))
        change = relative - tf.math.divide_no_nan(tf.reduce_sum(relative), number)
        logits = self.logits + self.step_size * tf.where(learns, change, 0.0)
        self.logits.assign(logits)
        weights = tf.nn.softmax(tf.where(present, logits, tf.float32.min))
        return tf.where(present, weights, 0.0)
