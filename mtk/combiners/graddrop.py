"""GradDrop: each element of the gradient keeps one sign, chosen at random."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from mtk.combiners import stateless_random
from mtk.combiners.base import Combined, Combiner, FeatureMerge, OfFeatures
from mtk.per_task import PerTask, in_task_order, plain
from mtk.ranges import check_choice, check_share

At = Literal["parameters", "representation"]


@keras.saving.register_keras_serializable("mtk")
class GradDrop(Combiner):
    """Gradient sign dropout: each element keeps either its positive or its negative parts.

    An element has the purity `P = (1 + sum_i g_i / sum_i |g_i|) / 2`. With a uniform number U,
    drawn for each element and step, positive parts stay where `P > U` and negative ones where
    `P < U`. The paper sums the remaining parts over tasks; this takes the mean.

    For features the purity uses the sign of `z * g`: the gradient times the sign of the feature,
    summed over the batch. Examples share purities and random numbers, so that a task's gradient is
    kept or dropped for all of them.

    The reported task weight is the share of the gradient that was kept, in absolute values, divided
    by the number of tasks.

    Args:
        leak: Fraction of each task's gradient that is always kept, from 0 to 1, which never drops.
            One for all, a sequence, or a dict by task name.
        seed: Integer; runs with the same seed draw the same numbers.
        at: `"parameters"` or `"representation"`, the features that the heads read: the
            paper's.

    Raises:
        ValueError: If a leak is not from 0 to 1, leaks do not match the tasks, or `at` is neither
            of the two.

    Reference:
        Chen et al., *Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout*
        (2020), equation 1, algorithm 1.
    """

    reads = "gradients"

    def __init__(
        self,
        leak: PerTask = 0.0,
        seed: int = 0,
        at: At = "parameters",
        name: str | None = None,
    ):
        check_choice(At, at=at)
        super().__init__(name=name)
        self.leak = plain("leak", leak)
        self.seed = seed
        self.at = at

    def build(self, num_tasks: int) -> None:
        super().build(num_tasks)
        leaks = in_task_order("leak", self.leak, self.task_names, num_tasks)
        for leak in leaks:
            check_share(leak=leak)
        self.leaks = tuple(leaks)
        self.random_keys = stateless_random.RandomKeys(self, self.seed)

    def call(
        self,
        task_gradients: list[tf.Tensor],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> Combined:
        del task_losses, counts
        task_gradients = [_of_present(stacked, present) for stacked in task_gradients]
        kept, sizes = _keep(task_gradients, self._shares(task_gradients), present)
        return Combined(kept, self._weights(sizes, present))

    def merge_features(
        self,
        accumulate: Callable[[OfFeatures], Any],
        task_losses: tf.Tensor,
        present: tf.Tensor,
        counts: tf.Tensor,
    ) -> FeatureMerge:
        del task_losses, counts

        def votes(
            features: Sequence[tf.Tensor], feature_gradients: Sequence[tf.Tensor]
        ) -> list[tf.Tensor]:
            return [
                tf.reduce_sum(tf.sign(tf.cast(z, tf.float32)) * _of_present(g, present), axis=1)
                for z, g in zip(features, feature_gradients, strict=True)
            ]

        # Drawn once per step, so that all examples keep the same parts.
        shares = [share[:, None] for share in self._shares(accumulate(votes))]

        def combine(
            features: Sequence[tf.Tensor], feature_gradients: Sequence[tf.Tensor]
        ) -> tuple[list[tf.Tensor], tf.Tensor]:
            del features
            return _keep([_of_present(g, present) for g in feature_gradients], shares, present)

        return FeatureMerge(combine, lambda sizes: self._weights(sizes, present))

    def _weights(self, sizes: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
        """Returns the task weights to report, `(K,)`.

        Args:
            sizes: Tensor `(2, K)`: sums of absolute values of the kept parts and of the gradients.
            present: Boolean tensor `(K,)`.
        """
        # A zero gradient loses nothing.
        shares = tf.where(sizes[1] > 0.0, tf.math.divide_no_nan(sizes[0], sizes[1]), 1.0)
        number = tf.reduce_sum(tf.cast(present, tf.float32))
        return tf.where(present, tf.math.divide_no_nan(shares, number), 0.0)

    def _shares(self, stacked: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the share of each element that is kept: tensors like `stacked`, from 0 to 1."""
        key = self.random_keys.next_key()
        shares = []
        for index, votes in enumerate(stacked):
            # The key's second number is the step's; the first one distinguishes variables.
            own_key = key + tf.stack([tf.constant(index << 32, tf.int64), tf.zeros((), tf.int64)])
            uniform = stateless_random.uniform(own_key, tf.shape(votes)[1:])
            total = tf.reduce_sum(tf.abs(votes), 0)
            purity = 0.5 * (1.0 + tf.math.divide_no_nan(tf.reduce_sum(votes, 0), total))
            positive = purity > uniform
            # Where all votes are zero nothing conflicts, and everything is kept.
            keeps = ((votes > 0.0) & positive) | ((votes < 0.0) & ~positive) | (total == 0.0)
            leaks = tf.reshape(tf.constant(self.leaks), (-1, *[1] * (len(votes.shape) - 1)))
            shares.append(leaks + (1.0 - leaks) * tf.cast(keeps, tf.float32))
        return shares


def _keep(
    stacked: Sequence[tf.Tensor], shares: Sequence[tf.Tensor], present: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Returns the mean of the kept parts, and the sizes of these and of the gradients, `(2, K)`."""
    number = tf.reduce_sum(tf.cast(present, tf.float32))
    kept = [share * part for share, part in zip(shares, stacked, strict=True)]
    combined = [tf.math.divide_no_nan(tf.reduce_sum(part, 0), number) for part in kept]
    return combined, tf.stack([_sizes(kept), _sizes(stacked)])


def _of_present(stacked: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    mask = tf.reshape(present, (-1, *[1] * (len(stacked.shape) - 1)))
    return tf.where(mask, tf.cast(stacked, tf.float32), 0.0)


def _sizes(stacked: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the sums of absolute values, `(K,)`."""
    rows = [tf.reduce_sum(tf.abs(part), list(range(1, len(part.shape)))) for part in stacked]
    return tf.add_n(rows)
