"""Random loss weighting: new weights at every step."""

import math
from typing import Literal

import keras
import tensorflow as tf

from mtk.combiners import stateless_random
from mtk.combiners.losses import LossCombiner
from mtk.ranges import check_choice, check_positive

Distribution = Literal["normal", "dirichlet", "log_uniform"]


@keras.saving.register_keras_serializable("mtk")
class RLW(LossCombiner):
    """Draws new task weights for every step.

    A network of `mtk.models.conditioned` reads the weights of its losses: loss-conditional
    training, after which one network serves any weights. With `per_example` each example has its
    own weights, which reduces the noise of a step; `task_weights`, and thus a custom training loop,
    then returns equal weights. The authors of loss-conditional training draw from a log-uniform
    distribution and do not normalize the weights to a sum of one.

    Args:
        distribution: `"normal"`: the softmax of K standard normal numbers. `"dirichlet"`: the
            symmetric Dirichlet distribution. `"log_uniform"`: numbers whose logarithms are uniform,
            divided by their sum.
        seed: Integer; runs with the same seed draw the same weights.
        concentration: Parameter of the Dirichlet distribution: 1 is uniform on the simplex, less
            favors a few tasks, more favors equal weights.
        smallest: Lower bound of the log-uniform numbers; the upper bound is 1.
        per_example: Whether to draw for each example of a batch, for a conditioned network. Several
            replicas then draw other weights than a single one.
        weighs_heads: Whether a head is scaled by its task's weight: random loss weighting. If not,
            only the shared gradients are weighted: random gradient weighting.

    Raises:
        ValueError: If the distribution is unknown, or another argument out of range.

    Reference:
        Lin et al., *Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
        Learning* (2021), section 3. Dosovitskiy & Djolonga, *You Only Train Once: Loss-Conditional
        Training of Deep Networks* (2020), for networks that read the weights.
    """

    loss_independent = True
    draws_weights = True

    def __init__(
        self,
        distribution: Distribution = "normal",
        seed: int = 0,
        concentration: float = 1.0,
        smallest: float = 0.01,
        per_example: bool = False,
        weighs_heads: bool = True,
        name: str | None = None,
    ):
        check_choice(Distribution, distribution=distribution)
        check_positive(concentration=concentration)
        if not 0 < smallest < 1:
            raise ValueError(f"`smallest` must lie between 0 and 1. Received: {smallest}")
        super().__init__(name=name)
        self.distribution = distribution
        self.seed = seed
        self.concentration = concentration
        self.smallest = smallest
        self.per_example = per_example
        self.weighs_heads = weighs_heads

    @property
    def weighs_examples(self) -> bool:  # type: ignore[override]
        return self.per_example

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.random_keys = stateless_random.RandomKeys(self, self.seed)

    def _logarithms(self, key: tf.Tensor, size: int | tf.Tensor = 1) -> tf.Tensor:
        """Returns random numbers `(size, K)` whose exponentials are proportional to the weights."""
        number = size * self.num_tasks
        if self.distribution == "normal":
            drawn = stateless_random.normal(key, number)
        elif self.distribution == "log_uniform":
            drawn = stateless_random.uniform(key, (number,)) * math.log(self.smallest)
        else:
            drawn = stateless_random.log_gamma(key, self.concentration, number)
        return tf.reshape(drawn, (size, self.num_tasks))

    def next_weights(self, size: int | tf.Tensor) -> tf.Tensor:
        key = self.random_keys.key()
        if not self.per_example:
            return tf.tile(tf.nn.softmax(self._logarithms(key)), (size, 1))
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        own = tf.stack([tf.cast(replica, tf.int64) * 2**32, tf.constant(0, tf.int64)])
        return tf.nn.softmax(self._logarithms(key + own, size))

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del task_losses, counts
        drawn = self._logarithms(self.random_keys.next_key())[0]
        if self.per_example:
            drawn = tf.zeros_like(drawn)
        weights = tf.nn.softmax(tf.where(present, drawn, drawn.dtype.min))
        return tf.where(present, weights, 0.0)
