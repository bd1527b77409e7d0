"""Random loss weighting: new weights at every step."""

from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from mtk.combiners import stateless_random
from mtk.combiners.base import LossCombiner

Distribution = Literal["normal", "dirichlet"]


@keras.saving.register_keras_serializable("mtk")
class RLW(LossCombiner):
    """Draws new task weights for every step.

    Args:
        distribution: `"normal"`: the softmax of K standard normal numbers. `"dirichlet"`: uniform
            on the simplex, Dirichlet(1, ..., 1), whose weights vary more.
        seed: Integer; runs with the same seed draw the same weights.

    Raises:
        ValueError: If the distribution is none of the two.

    Reference:
        Lin et al., *Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task
        Learning* (2021), section 3.
    """

    loss_independent = True

    def __init__(
        self, distribution: Distribution = "normal", seed: int = 0, name: str | None = None
    ):
        if distribution not in get_args(Distribution):
            raise ValueError(
                f"`distribution` is one of {get_args(Distribution)}. Received: {distribution!r}"
            )
        super().__init__(name=name)
        self.distribution = distribution
        self.seed = seed

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.random_keys = stateless_random.RandomKeys(self, self.seed)

    def task_weights(
        self, task_losses: tf.Tensor, present: tf.Tensor, counts: tf.Tensor
    ) -> tf.Tensor:
        del task_losses, counts
        key = self.random_keys.next_key()
        if self.distribution == "normal":
            weights = tf.exp(stateless_random.normal(key, self.num_tasks))
        else:
            # Exponential variates, normalized, are uniform on the simplex. 1 - u is never zero.
            weights = -tf.math.log(1.0 - stateless_random.uniform(key, (self.num_tasks,)))
        weights = tf.where(present, weights, 0.0)
        return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "distribution": self.distribution, "seed": self.seed}
