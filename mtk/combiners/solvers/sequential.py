"""Gradients altered against one another, one pair after the other, on the Gramian alone."""

from typing import NamedTuple

import tensorflow as tf

# For few tasks a loop costs more time than what it does.
_UNROLLED_AT_MOST = 4


class Projected(NamedTuple):
    """Result of `pairwise_projection`.

    Attributes:
        rows: Tensor `(..., K, K)`; row i holds the altered gradient i as coefficients of the K
            original ones.
        cosines: Tensor `(..., K, K)`; in `[i, j]` the cosine of gradient i, as altered until then,
            with gradient j, when j had its turn.
        met: Boolean tensor `(..., K, K)`: for which pairs there is such a cosine.
    """

    rows: tf.Tensor
    cosines: tf.Tensor
    met: tf.Tensor


def pairwise_projection(gramian: tf.Tensor, orders: tf.Tensor, targets: tf.Tensor) -> Projected:
    """Adds to each gradient of the others until its cosine with each in turn is the target's.

    For gradient i and each j in its order: if the cosine `a` of (the altered) gradient i with
    (the original) gradient j is below the target `b`, so much of gradient j is added that it
    becomes `b`: `|g_i| (b sqrt(1 - a^2) - a sqrt(1 - b^2)) / (|g_j| sqrt(1 - b^2))`. For `b = 0`
    that is the projection on the plane normal to gradient j.

    Args:
        gramian: Tensor `(..., K, K)`; tasks with a zero row take no part.
        orders: Integer tensor `(K, K)`: row i, the order in which gradient i meets the others.
        targets: Tensor `(..., K, K)`, target cosines; below one in absolute value.
    """
    num_tasks = gramian.shape[-1]
    norms = tf.sqrt(tf.linalg.diag_part(gramian))
    others = ~tf.eye(num_tasks, dtype=tf.bool)

    # `images` are the inner products of the altered gradients with the original ones.
    def meet(
        turn: tf.Tensor, rows: tf.Tensor, images: tf.Tensor, cosines: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        partners = orders[:, turn]
        chosen = tf.one_hot(partners, num_tasks, dtype=gramian.dtype)
        norm = tf.gather(norms, partners, axis=-1)
        product = tf.reduce_sum(images * chosen, -1)
        square = tf.reduce_sum(rows * images, -1)
        own_norm = tf.sqrt(tf.maximum(square, 0.0))
        cosine = tf.clip_by_value(tf.math.divide_no_nan(product, own_norm * norm), -1.0, 1.0)
        target = tf.reduce_sum(targets * chosen, -1)
        root = tf.sqrt(1.0 - target**2)
        change = own_norm * (target * tf.sqrt(1.0 - cosine**2) - cosine * root) / root
        change = tf.math.divide_no_nan(change, norm)
        below = (cosine < target) & (partners != tf.range(num_tasks))
        change = tf.where(below, change, 0.0)
        added = change[..., None] * tf.gather(gramian, partners, axis=-2)
        rows = rows + change[..., None] * chosen
        return turn + 1, rows, images + added, cosines + cosine[..., None] * chosen

    rows = tf.broadcast_to(tf.eye(num_tasks, dtype=gramian.dtype), gramian.shape)
    start = (tf.constant(0), rows, gramian, tf.zeros_like(gramian))
    if num_tasks <= _UNROLLED_AT_MOST:
        state = start
        for _ in range(num_tasks):
            state = meet(*state)
    else:
        state = tf.while_loop(lambda turn, *_: turn < num_tasks, meet, start)
    _, rows, _, cosines = state
    met = others & (norms[..., :, None] > 0.0) & (norms[..., None, :] > 0.0)
    return Projected(rows, cosines, met)
