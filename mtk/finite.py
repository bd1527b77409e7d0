"""Checks numbers within a step, and marks invalid values with NaN."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def all_finite(tensors: Sequence[Any]) -> tf.Tensor:
    """Returns whether all elements of all tensors are finite, a boolean scalar.

    Checking losses is not enough: ReLU and max-pooling turn NaN into numbers on CPUs.
    """
    # A sum is finite only if all its terms are; one that overflows counts as infinite.
    each = [getattr(tensor, "values", tensor) for tensor in tensors]
    # In float16, a sum can overflow although no term does.
    wide = [tf.cast(x, tf.float32) if x.dtype == tf.float16 else x for x in each]
    sums = [tf.reduce_sum(x) for x in wide]
    return tf.reduce_all(tf.math.is_finite(tf.stack([tf.cast(s, tf.float32) for s in sums])))


def nan_unless(fine: tf.Tensor, values: Any) -> tf.Tensor:
    """Returns values where `fine` is true, and NaN elsewhere.

    `tf.where` would need a constant NaN, which raises an error in programs that call
    `tf.debugging.enable_check_numerics`.

    Args:
        fine: Boolean tensor of a broadcastable shape.
        values: Finite numbers.
    """
    values = tf.convert_to_tensor(values)
    return values + tf.cast(tf.sqrt(tf.cast(fine, tf.float32) - 1.0), values.dtype)


def asserted(condition: tf.Tensor, message: str, values: tf.Tensor) -> tf.Tensor:
    """Returns values, or raises an error in the step if a condition is not met.

    XLA drops assertions.

    Args:
        condition: Boolean scalar.
        message: The error message.
        values: Any tensor.
    """
    check = tf.debugging.assert_equal(condition, True, message=message)
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(values)
