"""IMTL: impartial in losses and gradients."""

import keras
import tensorflow as tf

from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.imtl_g import impartial_weights
from mtk.combiners.imtl_l import LearnedScales
from mtk.finite import nan_unless
from mtk.ranges import check_nonnegative


@keras.saving.register_keras_serializable("mtk")
class IMTL(GramianCombiner):
    """IMTL-L and IMTL-G combined: losses are scaled, then gradients weighted.

    The losses become `exp(s_i) L_i` by IMTL-L; the shared variables follow the IMTL-G direction of
    the scaled losses' gradients, and a head follows its own scaled loss, divided by the number of
    tasks. The mean scale holds at the start, s = 0.

    Args:
        learning_rate: Adam's learning rate for s.
        at: Where the gradients are taken; the paper takes them at the `"representation"`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If the learning rate is negative or not finite, or `update_every` less than one.

    Reference:
        Liu et al., *Towards Impartial Multi-task Learning* (2021), algorithm 1.
    """

    def __init__(
        self,
        learning_rate: float = 0.025,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        check_nonnegative(learning_rate=learning_rate)
        super().__init__(at=at, update_every=update_every, name=name)
        self.learning_rate = learning_rate

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.scales = LearnedScales(self, self.learning_rate)
        # The scales used for the last weights: heads use the same ones.
        self.last_scales = self.add_state("last_scales", (num_tasks,), initial=1.0)

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        scales = self.scales()
        self.last_scales.assign(scales)
        # Nonfinite scales may make this Gramian nonfinite, although the given one was checked.
        scaled, finite = self.problem(gramian * scales[:, None] * scales[None, :], present)
        weights = tf.cast(impartial_weights(scaled, present), tf.float32) * scales
        self.scales.learn(task_losses, present)
        return nan_unless(finite, weights)

    def head_weights(self, task_weights: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        return super().head_weights(task_weights, present) * self.last_scales
