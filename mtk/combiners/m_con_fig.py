"""M-ConFIG: one task's gradient a step, ConFIG on the momenta."""

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
    """Takes the gradient of one task in each step, in turn, and merges the momenta as `ConFIG`.

    The momentum of a task is the average of its gradients so far, the newest with the share
    `1 - beta`, corrected for the start as in Adam. Of the tasks that are present, the one has its
    turn whose last turn is the longest ago. Momenta of tasks without labels in the batch, or
    without a gradient so far, are left out of the direction.

    A step makes one backward pass through the shared variables, as scalarization, and one through
    all heads, each of which is trained in every step, by its own gradient divided by the number of
    tasks. There is state: K times the trainable variables.

    Departure: the authors' method is an optimizer, with a second moment of the merged momentum
    (beta 0.999). Here that is the optimizer's part: use `keras.optimizers.RMSprop()`, or
    `keras.optimizers.Adam(beta_1=0.0)`. With a momentum of its own gradients are averaged twice.

    Scaling all gradients scales the result, and K equal gradients give one: the mean scale.
    Permuting the tasks permutes their turns. It may conflict with a gradient.

    Args:
        beta: Share of the past in a momentum, from 0 to less than 1.
        preference: As for `ConFIG`. A task with a preference of zero has no turn.

    Raises:
        ValueError: If beta is out of range, the preference negative, infinite, NaN or all zero, or,
            when the tasks are known, if it does not match them.

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
        # The number of the step in which a task had its last turn; zero for none.
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
        # The share that makes the average one that is corrected for its start at zero.
        share = (1.0 - self.beta) / (1.0 - self.beta ** tf.maximum(steps, 1.0))
        seen = takes_part & (steps > 0.0)
        share = tf.where(newest, share, 0.0)
        momenta = averaged(self.momenta.of(len(task_gradients)), task_gradients, share, seen)
        gramian, finite = GramianCombiner.problem(gradients.gramian(momenta), seen)
        weights = self.con_fig.task_weights(gramian, task_losses, seen)
        weights = nan_unless(finite, weights)
        return Combined(gradients.weighted_sum(momenta, weights), weights)
