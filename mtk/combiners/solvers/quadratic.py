"""Quadratic programs on scaled Gramians."""

import tensorflow as tf

from mtk.combiners.solvers.active_set import guess
from mtk.combiners.solvers.interior_point import minimize
from mtk.combiners.solvers.scaling import Scaled


def nearest_to_zero(scaled: Scaled) -> tf.Tensor:
    """Returns the point of smallest norm in the convex hull of the gradients.

    Args:
        scaled: Gradients, of which those with a direction take part.

    Returns:
        Tensor `(K,)`, weights with a sum of one; all zero if no gradient has a direction.
    """
    cosines, lengths, directed = scaled
    outside = tf.cast(~directed, lengths.dtype)
    normal = simplex_normal(scaled)
    start = tf.ones_like(normal) / tf.maximum(tf.reduce_sum(normal), 1.0)
    solution = minimize(lambda x: (tf.linalg.matvec(cosines, x) + outside, cosines), start, normal)
    return tf.math.divide_no_nan(solution * normal, tf.reduce_sum(solution * normal))


def simplex_normal(scaled: Scaled) -> tf.Tensor:
    """Returns the `normal` that turns `sum(w) = 1` into `normal . x = 1`.

    There `x` are the weights in units of the smallest gradient, `x = w * lengths / smallest`, which
    are of order one however different the gradients are.

    Args:
        scaled: Gradients; the normal is zero for those without a direction.
    """
    _, lengths, directed = scaled
    smallest = tf.reduce_min(tf.where(directed, lengths, lengths.dtype.max))
    return tf.where(directed, tf.math.divide_no_nan(smallest, lengths), 0.0)


def dual_cone_projection(scaled: Scaled, vectors: tf.Tensor) -> tf.Tensor:
    """Projects vectors on the cone of all that conflicts with no gradient.

    The projection of `v` is `v + sum_j x_j u_j` with the `x >= 0` that make it shortest, where
    `u_j` are the unit gradients.

    Args:
        scaled: Gradients, of which those with a direction span the cone.
        vectors: Tensor `(n, K)`, each row a vector as coefficients of the unit gradients.

    Returns:
        Tensor `(n, K)`, the projections as coefficients of the unit gradients.
    """
    outside = tf.cast(~scaled.directed, vectors.dtype)
    linear = tf.matmul(vectors, scaled.cosines) + outside
    guessed, right = guess(scaled.cosines, linear)
    added = tf.cond(right, lambda: guessed, lambda: _nonnegative(scaled.cosines, linear))
    return vectors + added * (1.0 - outside)


def _nonnegative(matrix: tf.Tensor, linear: tf.Tensor) -> tf.Tensor:
    hessian = tf.broadcast_to(matrix, (*linear.shape, linear.shape[-1]))
    start = tf.ones_like(linear) * linear.shape[-1] ** -0.5
    return minimize(lambda x: (tf.matmul(x, matrix) + linear, hessian), start)
