"""The Euclidean projection onto the simplex."""

import tensorflow as tf


def project(vector: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the nearest `w >= 0` with a sum of one.

    It is `max(x - t, 0)` for the threshold t that gives this sum, one of the K candidates that
    sorting yields.

    Args:
        vector: Tensor `(K,)`.
        present: Boolean tensor `(K,)`; absent entries get zero.

    Returns:
        Tensor `(K,)`; zero if none is present.

    Reference:
        Duchi et al., *Efficient Projections onto the l1-Ball for Learning in High Dimensions*
        (2008), figure 1.
    """
    # The threshold is at most one below the largest number: relative to that number no digit is
    # lost, and entries further below get zero.
    largest = tf.reduce_max(tf.where(present, vector, vector.dtype.min))
    shifted = tf.where(present, tf.maximum(vector - largest, -2.0), -2.0)
    ordered = tf.sort(shifted, direction="DESCENDING")
    numbers = tf.range(1, ordered.shape[0] + 1, dtype=vector.dtype)
    thresholds = (tf.cumsum(ordered) - 1.0) / numbers
    inside = tf.reduce_sum(tf.cast(ordered > thresholds, tf.int32))
    threshold = tf.gather(thresholds, inside - 1)
    weights = tf.where(present, tf.maximum(shifted - threshold, 0.0), 0.0)
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
