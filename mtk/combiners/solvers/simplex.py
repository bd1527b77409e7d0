"""The Euclidean projection on the simplex."""

import tensorflow as tf


def project(vector: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """Returns the nearest `w >= 0` with a sum of one.

    It is `max(x - t, 0)` for the one threshold t that gives the sum, found among the K that sorting
    gives.

    Args:
        vector: Tensor `(K,)`.
        present: Boolean tensor `(K,)`: the others get zero.

    Returns:
        Tensor `(K,)`; zero if none is present.

    Reference:
        Duchi et al., *Efficient Projections onto the l1-Ball for Learning in High Dimensions*
        (2008), figure 1.
    """
    # The threshold lies within one of the largest number: counted from there, no digit is lost, and
    # what is further below is out.
    largest = tf.reduce_max(tf.where(present, vector, vector.dtype.min))
    shifted = tf.where(present, tf.maximum(vector - largest, -2.0), -2.0)
    ordered = tf.sort(shifted, direction="DESCENDING")
    numbers = tf.range(1, ordered.shape[0] + 1, dtype=vector.dtype)
    thresholds = (tf.cumsum(ordered) - 1.0) / numbers
    inside = tf.reduce_sum(tf.cast(ordered > thresholds, tf.int32))
    threshold = tf.gather(thresholds, inside - 1)
    weights = tf.where(present, tf.maximum(shifted - threshold, 0.0), 0.0)
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights))
