"""Quadratic programs on scaled Gramians."""

import tensorflow as tf

from mtk.combiners.solvers.active_set import block_pivoting
from mtk.combiners.solvers.first_order import descend
from mtk.combiners.solvers.interior_point import minimize
from mtk.combiners.solvers.scaling import Scaled, ridge

# Times sqrt(K), the weight of the distance to the preferred weights relative to the squared norm:
# above the rounding error of a Gramian computed in float32, and low enough that 40 linearly
# dependent gradients are combined to within 1e-5 of the longest.
PREFERENCE = 3.6e-5
STEPS = 3  # Of the proximal point method.
# Factorizations are faster for few tasks or a single problem, matrix products for many.
_GUESSED_AT_MOST = 16


@tf.function(autograph=False)
def nearest_to_zero(scaled: Scaled) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the point of smallest norm in the convex hull of the gradients.

    If many weights attain it, as for parallel gradients, the rounding error of the Gramian would
    choose among them. Three steps of the proximal point method from equal weights choose the ones
    nearest to equal. Well-determined weights are accurate to the cube of `PREFERENCE`.

    Args:
        scaled: Gradients; those without a direction are ignored.

    Returns:
        Tensor `(K,)`, weights with a sum of one (all zero if no gradient has a direction), and a
        boolean tensor `()`: whether they are optimal.

    Reference:
        Rockafellar, *Monotone Operators and the Proximal Point Algorithm* (1976).
    """
    cosines, lengths, directed = scaled
    outside = tf.cast(~directed, lengths.dtype)
    normal = simplex_normal(scaled)
    start = tf.ones_like(normal) / tf.maximum(tf.reduce_sum(normal), 1.0)
    # `normal * x` are the weights.
    preference = PREFERENCE * normal.shape[0] ** 0.5
    bends = preference * normal**2
    hessian = tf.linalg.set_diag(cosines, tf.linalg.diag_part(cosines) + bends)
    weights = tf.math.divide_no_nan(tf.cast(directed, normal.dtype), tf.reduce_sum(1.0 - outside))
    linear = outside - preference * normal * weights
    found, optimal = _minimize(hessian, linear, start, normal)
    for _ in range(STEPS - 1):
        weights = tf.math.divide_no_nan(found * normal, tf.reduce_sum(found * normal))
        linear = outside - preference * normal * weights
        # These steps are short: usually the same weights are zero, and one system gives the others.
        near, right = _with_support(hessian, linear, normal, found)
        found, solved = tf.cond(
            right,
            lambda near=near, right=right: (near, right),
            lambda linear=linear: _minimize(hessian, linear, start, normal),
        )
        optimal &= solved
    weights = tf.math.divide_no_nan(found * normal, tf.reduce_sum(found * normal))
    return weights, optimal


def _with_support(
    matrix: tf.Tensor, linear: tf.Tensor, normal: tf.Tensor, near: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Minimizes `x . matrix x / 2 + linear . x` for `normal . x = 1`, with the zeros of `near`.

    Returns:
        Tensor `(K,)`, and a boolean tensor `()`: whether it is optimal among all `x >= 0`.
    """
    tolerance = 10.0 * ridge(matrix.dtype)
    free = near > 1e-6 * tf.reduce_max(near)
    inside = tf.where(free[:, None] & free[None, :], matrix, 0.0)
    diagonal = tf.linalg.diag_part(matrix) * (1.0 + ridge(matrix.dtype))
    factor = tf.linalg.cholesky(tf.linalg.set_diag(inside, tf.where(free, diagonal, 1.0)))
    right = tf.where(free[:, None], tf.stack([-linear, normal], 1), 0.0)
    own, across = tf.unstack(tf.linalg.cholesky_solve(factor, right), axis=1)
    lacks = 1.0 - tf.reduce_sum(normal * own)
    shift = tf.math.divide_no_nan(lacks, tf.reduce_sum(normal * across))
    found = own + shift * across
    slope = tf.linalg.matvec(matrix, found) + linear - shift * normal
    error = tf.where(free, tf.maximum(tf.abs(slope), -found), -slope)
    return tf.maximum(found, 0.0), tf.reduce_max(error) <= tolerance


def simplex_normal(scaled: Scaled) -> tf.Tensor:
    """Returns the `normal` that turns `sum(w) = 1` into `normal . x = 1`.

    Here `x = w * lengths / smallest` are the weights in units of the smallest gradient, which are
    of order one however much the norms of the gradients differ.

    Args:
        scaled: Gradients; the normal is zero for those without a direction.
    """
    _, lengths, directed = scaled
    smallest = tf.reduce_min(tf.where(directed, lengths, lengths.dtype.max))
    return tf.where(directed, tf.math.divide_no_nan(smallest, lengths), 0.0)


@tf.function(autograph=False)
def dual_cone_projection(scaled: Scaled, vectors: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Projects vectors onto the cone of the vectors that conflict with no gradient.

    The projection of `v` is `v + sum_j x_j u_j` with the `x >= 0` that minimize its norm, where
    `u_j` are the unit gradients.

    Args:
        scaled: Gradients; those without a direction are ignored.
        vectors: Tensor `(n, K)`, each row a vector as coefficients of the unit gradients.

    Returns:
        Tensor `(n, K)`, the projections as coefficients of the unit gradients, and a boolean tensor
        `()`: whether they are optimal.
    """
    outside = tf.cast(~scaled.directed, vectors.dtype)
    linear = tf.matmul(vectors, scaled.cosines) + outside
    few = linear.shape[0] == 1 or linear.shape[-1] <= _GUESSED_AT_MOST
    solve = block_pivoting if few else descend
    found, right = solve(scaled.cosines, linear)
    added, solved = tf.cond(
        right, lambda: (found, right), lambda: _nonnegative(scaled.cosines, linear)
    )
    return vectors + added * (1.0 - outside), solved


def _nonnegative(matrix: tf.Tensor, linear: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    hessian = tf.broadcast_to(matrix, (*linear.shape, linear.shape[-1]))
    start = tf.ones_like(linear) * linear.shape[-1] ** -0.5
    return minimize(lambda x: (tf.matmul(x, matrix) + linear, hessian), start)


def _minimize(
    matrix: tf.Tensor, linear: tf.Tensor, start: tf.Tensor, normal: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    return minimize(lambda x: (tf.linalg.matvec(matrix, x) + linear, matrix), start, normal)
