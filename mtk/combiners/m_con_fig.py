"""M-ConFIG: one task's gradient per step, ConFIG on the momenta."""

from typing import Annotated

import keras
import tensorflow as tf

from mtk import gradients
from mtk.combiners import preference as preferences
from mtk.combiners.base import Combined, Combiner
from mtk.combiners.buffers import Buffers, averaged
from mtk.combiners.con_fig import ConFIG
from mtk.combiners.gramian import GramianCombiner
from mtk.finite import nan_unless
from mtk.per_task import PerTask
from mtk.ranges import check_rate
from mtk.ratios import Ratios


@keras.saving.register_keras_serializable("mtk")
class MConFIG(Combiner):
    """Computes the gradient of one task per step, in turn, and merges the momenta as `ConFIG`.

    The momentum of a task is the moving average of its gradients, where the newest has weight
    `1 - beta`, with bias correction as in Adam. It is the turn of the present task whose last turn
    is longest ago. Momenta of tasks without labels in the batch, or without a gradient so far, are
    left out of the direction.

    A step makes one backward pass through the shared variables, as scalarization, and one through
    all heads. Each head is trained in every step by its own gradient, divided by the number of
    tasks. The state is K times the trainable variables.

    Departure: the authors' method is an optimizer, with a second moment of the merged momentum
    (beta 0.999). Here that is left to the optimizer: use `keras.optimizers.RMSprop()` or
    `keras.optimizers.Adam(beta_1=0.0)`. An optimizer with momentum would average gradients twice.

    Scaling all gradients scales the result, and K equal gradients g give g: the mean scale.
    Permuting the tasks permutes their turns. The result may conflict with a gradient.

    Args:
        beta: Weight of the past in a momentum, in `[0, 1)`.
        preference: As in `ConFIG`. A task with a preference of zero gets no turn.

    Raises:
        ValueError: If beta is out of range, the preference negative, infinite, NaN or all zero, or,
            once the tasks are known, if it does not match them.

    Reference:
        Liu et al., *ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks*
        (2025), algorithm 1.
    """

    reads = "gradients"

    def __init__(
        self,
        beta: float = 0.9,
        preference: Annotated[PerTask | None, Ratios()] = None,
        name: str | None = None,
    ):
        check_rate(beta=beta)
        super().__init__(name=name)
        self.beta = beta
        self.preference = preferences.checked(preference)
        self.con_fig = ConFIG(preference)

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.preferred = preferences.in_order(self.preference, self.task_names, num_tasks)
        self.con_fig.bind(self.task_names or [str(k) for k in range(num_tasks)], [])
        self.con_fig.build(num_tasks)
        self.steps = self.add_state("steps", (num_tasks,))
        # Number of the step of each task's last turn; zero for none.
        self.turns = self.add_state("turns", (num_tasks,), dtype="int64")
        self.momenta = Buffers(self, "momenta")

    def chosen_tasks(self, present: tf.Tensor) -> tf.Tensor | None:
        takes_part = present & (tf.constant(self.preferred) > 0.0)
        turns = tf.where(takes_part, tf.convert_to_tensor(self.turns), tf.int64.max)
        return tf.argmin(turns, output_type=tf.int32)[None]

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del counts
        takes_part = present & (tf.constant(self.preferred) > 0.0)
        newest = takes_part & (tf.range(self.num_tasks) == self.chosen_tasks(present))
        steps = self.steps + tf.cast(newest, tf.float32)
        self.steps.assign(steps)
        turns = tf.convert_to_tensor(self.turns)
        self.turns.assign(tf.where(newest, tf.reduce_max(turns) + 1, turns))
        # With this share the average includes Adam's bias correction.
        share = (1.0 - self.beta) / (1.0 - self.beta ** tf.maximum(steps, 1.0))
        seen = takes_part & (steps > 0.0)
        share = tf.where(newest, share, 0.0)
        momenta = averaged(self.momenta.of(len(task_gradients)), task_gradients, share, seen)
        gramian, finite = GramianCombiner.problem(gradients.gramian(momenta), seen)
        weights = self.con_fig.task_weights(gramian, task_losses, seen)
        weights = nan_unless(finite, weights)
        return Combined(gradients.weighted_sum(momenta, weights), weights)
