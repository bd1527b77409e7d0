"""NaN for what must not go unseen, made only where it is due."""

from typing import Any

import tensorflow as tf


def nan_unless(fine: tf.Tensor, values: Any) -> tf.Tensor:
    """Returns values where `fine` holds, and NaN elsewhere.

    `tf.where` would need a constant NaN, at which every program stops that calls
    `tf.debugging.enable_check_numerics`.

    Args:
        fine: Boolean tensor, of a shape that broadcasts.
        values: Finite numbers.
    """
    values = tf.convert_to_tensor(values)
    return values + tf.cast(tf.sqrt(tf.cast(fine, tf.float32) - 1.0), values.dtype)
