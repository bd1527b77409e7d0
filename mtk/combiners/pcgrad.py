"""PCGrad: removes conflicts between pairs of gradients by projection."""

import keras
import tensorflow as tf

from mtk.combiners import stateless_random
from mtk.combiners.gramian import GramianCombiner
from mtk.combiners.solvers.scaling import solver_dtype
from mtk.combiners.solvers.sequential import project_conflicts


@keras.saving.register_keras_serializable("mtk")
class PCGrad(GramianCombiner):
    """Projects conflicting gradients, then takes their mean.

    Each gradient is compared with the others in a random order, redrawn for each gradient and step.
    If its inner product with another *original* gradient is negative, its component along that one
    is removed. The paper sums the K altered gradients; this takes their mean. A zero gradient
    conflicts with none.

    An altered gradient is computed as a row of K coefficients; the Gramian gives all inner
    products.

    Args:
        seed: Integer; runs with the same seed draw the same orders.
        at: Where the gradients are taken; see `Combiner`.
        update_every: Number of steps between updates of the weights.

    Raises:
        ValueError: If `update_every` is less than one.

    Reference:
        Yu et al., *Gradient Surgery for Multi-Task Learning* (2020), algorithm 1.
    """

    def __init__(
        self,
        seed: int = 0,
        at: str = "parameters",
        update_every: int = 1,
        name: str | None = None,
    ):
        super().__init__(at=at, update_every=update_every, name=name)
        self.seed = seed

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        self.random_keys = stateless_random.RandomKeys(self, self.seed)

    def task_weights(
        self, gramian: tf.Tensor, task_losses: tf.Tensor, present: tf.Tensor
    ) -> tf.Tensor:
        del task_losses
        gramian = tf.cast(gramian, solver_dtype())
        orders = stateless_random.orders(self.random_keys.next_key(), self.num_tasks)
        rows = project_conflicts(gramian, orders)
        everyone = tf.cast(present, rows.dtype)
        total = tf.linalg.matvec(rows, everyone, transpose_a=True)
        return tf.cast(tf.math.divide_no_nan(total, tf.reduce_sum(everyone)), tf.float32)
