"""UW-SO: uncertainty weights in closed form, with a softmax."""

import keras
import tensorflow as tf

from mtk.combiners.log_losses import LogLossCombiner
from mtk.per_task import PerTask
from mtk.ranges import check_positive


@keras.saving.register_keras_serializable("mtk")
class UWSO(LogLossCombiner):
    """Soft optimal uncertainty weights: `w = softmax((1 / L) / T)`.

    `1 / L_i` is the weight to which `UncertaintyWeights` converges for a constant loss. No gradient
    flows through the weights. They sum to one: the mean scale.

    The method is sensitive to T, which has to be tuned: it is in units of `1 / L`, so that as
    losses fall, the smallest one takes more and more of the weight. A loss counts as its distance
    from its bound, `L_i - b_i`, and near it as in `ScaleInvariant`: at the bound or below, its
    weight is that for `1 / L = 0`.

    Permuting the tasks permutes the weights, and the result may conflict with a gradient. One
    backward pass; the state is two numbers per task.

    Args:
        temperature: T; larger means closer to equal weights.
        bounds: Lower bounds b of the losses: one for all, a sequence, or a dict by task name.

    Raises:
        ValueError: If the temperature is not positive, or, once the tasks are known, if the bounds
            do not match them.

    Reference:
        Kirchdorfer et al., *Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning*
        (2024), arXiv:2408.07985.
    """

    def __init__(self, temperature: float = 10.0, bounds: PerTask = 0.0, name: str | None = None):
        check_positive(temperature=temperature)
        super().__init__(bounds, name)
        self.temperature = temperature

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del counts
        self.log_losses.see(task_losses, present)
        inverse = tf.where(present, self.log_losses.slopes(task_losses), 0.0)
        weights = tf.exp((inverse - tf.reduce_max(inverse)) / self.temperature)
        weights = tf.where(present, weights, 0.0)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
