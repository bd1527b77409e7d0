"""Steps whose losses or gradient are infinite or NaN: seen, noted, and left out."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mtk.gradients import scaled
from mtk.poison import nan_unless

# After so many steps skipped in a row nothing trains any more.
MOST_IN_A_ROW = 100


def all_finite(tensors: Sequence[Any]) -> tf.Tensor:
    """Returns whether all elements of all tensors are finite, a boolean scalar.

    Losses alone do not tell: ReLU and max-pooling turn NaN into numbers on CPUs.
    """
    # A sum is finite only if all its terms are; one that overflows is as good as infinite.
    each = [getattr(tensor, "values", tensor) for tensor in tensors]
    # In float16 a sum overflows where no term does.
    wide = [tf.cast(x, tf.float32) if x.dtype == tf.float16 else x for x in each]
    sums = [tf.reduce_sum(x) for x in wide]
    return tf.reduce_all(tf.math.is_finite(tf.stack([tf.cast(s, tf.float32) for s in sums])))


def apply_gradients(
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
    finite: tf.Tensor,
    skip: bool,
) -> None:
    """Hands gradients to the optimizer, unless they are not finite and such steps are skipped.

    `finite` is the same on all replicas.
    """
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    context = tf.distribute.get_replica_context()
    if context is not None and not (tf.distribute.has_strategy() or is_scaled):
        # Keras would sum over replicas, by an operation that TensorFlow keeps, with the graph of
        # the step, as long as the process lives. Outside of a replica it does not.
        arguments = (optimizer, gradients, variables, finite, skip)
        context.merge_call(lambda _: apply_gradients(*arguments))
    elif is_scaled:
        # It skips such steps by itself; a loss that is NaN must count as an overflow too.
        factor = nan_unless(finite, 1.0)
        optimizer.apply([scaled(gradient, factor) for gradient in gradients], variables)
    elif skip:
        _apply_if(finite, optimizer, gradients, variables)
    else:
        optimizer.apply(gradients, variables)


def _apply_if(
    finite: tf.Tensor,
    optimizer: keras.optimizers.Optimizer,
    gradients: Sequence[Any],
    variables: Sequence[keras.Variable],
) -> None:
    def take() -> tf.Tensor:
        optimizer.apply(gradients, variables)
        return tf.constant(True)

    if tf.__internal__.distribute.strategy_supports_no_merge_call():
        tf.cond(finite, take, lambda: tf.constant(False))
        return

    # Replicas that meet in the middle of a step cannot do so inside a conditional: it is taken
    # for all of them.
    def together(strategy: tf.distribute.Strategy, finite: tf.Tensor, gradients: list) -> None:
        def take_all() -> tf.Tensor:
            strategy.extended.call_for_each_replica(
                lambda own: optimizer.apply(own, variables), args=(gradients,)
            )
            return tf.constant(True)

        first = strategy.experimental_local_results(finite)[0]
        tf.cond(first, take_all, lambda: tf.constant(False))

    tf.distribute.get_replica_context().merge_call(together, args=(finite, list(gradients)))
