"""The worst mixture of two gradients, in closed form."""

import tensorflow as tf

from mtk.combiners.solvers.scaling import Scaled


def worst_mixture_of_two(scaled: Scaled, unit_mean: tf.Tensor, c: float) -> tf.Tensor:
    """Minimizes `g_w . u + c |g_w|` over the mixtures `g_w` of two gradients.

    `g_w = w_1 g_1 + w_2 g_2` lies on a line. With `s` the signed distance from the point nearest to
    zero, in units of `|g_1 - g_2|`, the function is `slope s + c sqrt(span s^2 + rest)` plus a
    constant, where `span` is `|g_1 - g_2|^2` and `rest` the squared norm of the nearest point. The
    minimum is where `s^2 = slope^2 rest / (span (c^2 span - slope^2))`, with the sign of `-slope`,
    or, if the slope is too steep for that, at an end of the line.

    Args:
        scaled: Two gradients. If one has no direction, the mixture is the other.
        unit_mean: Tensor `(2,)`: `u`, as coefficients of the unit gradients.
        c: Positive number.

    Returns:
        Tensor `(2,)`: `g_w` as coefficients of the unit gradients, up to a factor; zero if no
        gradient has a direction.
    """
    cosines, lengths, directed = scaled
    # The unit is the norm of the longer gradient, so that no square over- or underflows.
    sizes = tf.math.divide_no_nan(lengths, tf.reduce_max(lengths))
    cosine = cosines[0, 1]
    product = sizes[0] * sizes[1] * cosine
    span = tf.reduce_sum(sizes**2) - 2.0 * product
    rest = tf.math.divide_no_nan((sizes[0] * sizes[1]) ** 2 * (1.0 - cosine**2), span)
    ends = sizes * tf.linalg.matvec(cosines, unit_mean)
    slope = ends[0] - ends[1]
    steepness = c**2 * span - slope**2
    bend = span * tf.maximum(steepness, 0.0)
    rate = tf.sqrt(tf.math.divide_no_nan(tf.maximum(rest, 0.0), bend))
    # The nearest point may be far away if the gradients are almost equal.
    way = -tf.where(bend > 0.0, slope * rate, tf.sign(slope) * slope.dtype.max)
    # Each weight has its own formula: one minus the other would lose the digits of a small one.
    nearest = tf.math.divide_no_nan(sizes[::-1] ** 2 - product, span)
    shares = tf.clip_by_value(nearest + tf.stack([way, -way]), 0.0, 1.0)
    shares = tf.where(span > 0.0, shares, 0.5)
    return tf.where(tf.reduce_all(directed), shares, tf.cast(directed, shares.dtype)) * sizes
