"""Sequential pairwise projections of gradients, computed from the Gramian alone."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# For few tasks the overhead of a loop exceeds its work.
_UNROLLED_AT_MOST = 4

# Maps a turn, the products of the altered gradients with the original ones and their squared norms
# to the new products and squares, and for each gradient its partner's added multiple and cosine.
_Meet = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]


class Projected(NamedTuple):
    """Result of `pairwise_projection`.

    Attributes:
        rows: Tensor `(..., K, K)`; row i holds the altered gradient i as coefficients of the K
            original ones.
        cosines: Tensor `(..., K, K)`; entry `[i, j]` is the cosine of gradient i, as altered before
            the turn of j, with gradient j.
        met: Boolean tensor `(..., K, K)`: for which pairs this cosine is defined.
    """

    rows: tf.Tensor
    cosines: tf.Tensor
    met: tf.Tensor


def project_conflicts(gramian: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    """Removes from each gradient its component along each other one in turn if they conflict.

    Equals `pairwise_projection` with targets of zero, in fewer operations.

    Args:
        gramian: Tensor `(K, K)`; tasks with a zero row are ignored.
        orders: Integer tensor `(K, K)`: row i is the order of the partners of gradient i.

    Returns:
        Tensor `(K, K)`: the rows of `Projected`.
    """
    partners = tf.transpose(orders)
    squares = tf.linalg.diag_part(gramian)
    factors = tf.gather(-tf.math.divide_no_nan(tf.ones_like(squares), squares), partners)
    factors = tf.where(_with_others(orders), factors, 0.0)

    def meet(turn: tf.Tensor, images: tf.Tensor, own: tf.Tensor) -> tuple[tf.Tensor, ...]:
        partner = tf.gather(partners, turn)
        product = tf.gather(images, partner, axis=1, batch_dims=1)
        change = tf.maximum(product * tf.gather(factors, turn), 0.0)
        images += change[:, None] * tf.gather(gramian, partner)
        return images, own, change, change

    changes, _ = _take_turns(meet, gramian, squares)
    identity = tf.eye(gramian.shape[-1], dtype=gramian.dtype)
    return identity + _by_partner(changes, orders)


def pairwise_projection(gramian: tf.Tensor, orders: tf.Tensor, targets: tf.Tensor) -> Projected:
    """Raises the cosine of each gradient with each other one in turn to at least its target.

    For gradient i and each j in its order: if the cosine `a` of (the altered) gradient i with
    (the original) gradient j is below the target `b`, a multiple of gradient j is added that makes
    it `b`: `|g_i| (b sqrt(1 - a^2) - a sqrt(1 - b^2)) / (|g_j| sqrt(1 - b^2))`. For `b = 0` this is
    the projection onto the plane normal to gradient j.

    Args:
        gramian: Tensor `(..., K, K)`; tasks with a zero row are ignored.
        orders: Integer tensor `(K, K)`: row i is the order of the partners of gradient i.
        targets: Tensor `(..., K, K)`, target cosines, below one in absolute value.
    """
    groups = gramian.shape[:-2]
    norms = tf.sqrt(tf.linalg.diag_part(gramian))
    partners, others = tf.transpose(orders), _with_others(orders)
    everywhere = tf.broadcast_to(orders, (*groups, *orders.shape))
    # Norms and targets of each gradient's partner in each turn: `(K turns, ..., K)`.
    met_norms = _turns_first(tf.gather(norms, orders, axis=-1))
    met_targets = tf.gather(targets, everywhere, axis=-1, batch_dims=len(groups) + 1)
    met_targets = _turns_first(met_targets)
    slopes = met_targets / tf.sqrt(1.0 - met_targets**2)

    def meet(turn: tf.Tensor, images: tf.Tensor, squares: tf.Tensor) -> tuple[tf.Tensor, ...]:
        partner = tf.gather(partners, turn)
        everywhere = tf.broadcast_to(partner, (*groups, *partner.shape))
        product = tf.gather(images, everywhere, axis=-1, batch_dims=len(groups) + 1)
        norm, own_norm = tf.gather(met_norms, turn), tf.sqrt(tf.maximum(squares, 0.0))
        cosine = tf.clip_by_value(tf.math.divide_no_nan(product, own_norm * norm), -1.0, 1.0)
        change = own_norm * (tf.gather(slopes, turn) * tf.sqrt(1.0 - cosine**2) - cosine)
        below = (cosine < tf.gather(met_targets, turn)) & tf.gather(others, turn)
        change = tf.where(below, tf.math.divide_no_nan(change, norm), 0.0)
        images += change[..., None] * tf.gather(gramian, partner, axis=-2)
        squares += change * (2.0 * product + change * norm**2)
        return images, squares, change, cosine

    changes, cosines = _take_turns(meet, gramian, norms**2)
    identity = tf.eye(gramian.shape[-1], dtype=gramian.dtype)
    there = (norms[..., :, None] > 0.0) & (norms[..., None, :] > 0.0)
    met = there & ~tf.eye(gramian.shape[-1], dtype=tf.bool)
    rows = identity + _by_partner(changes, orders)
    return Projected(rows, _by_partner(cosines, orders), met)


def _with_others(orders: tf.Tensor) -> tf.Tensor:
    """Returns for each turn, `(K turns, K)`, whether a gradient's partner is not itself."""
    return tf.transpose(orders) != tf.range(orders.shape[0])[None, :]


def _turns_first(by_turn: tf.Tensor) -> tf.Tensor:
    """Moves the last axis to the front."""
    rank = by_turn.shape.rank
    return tf.transpose(by_turn, (rank - 1, *range(rank - 1)))


def _take_turns(meet: _Meet, images: tf.Tensor, squares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the changes and cosines of `meet` in all K turns, each `(K turns, ..., K)`."""
    number = images.shape[-1]
    if number <= _UNROLLED_AT_MOST:
        found = []
        for turn in range(number):
            images, squares, *new = meet(tf.constant(turn), images, squares)
            found.append(new)
        changes, cosines = zip(*found, strict=True)
        return tf.stack(changes), tf.stack(cosines)

    def advance(
        turn: tf.Tensor,
        images: tf.Tensor,
        squares: tf.Tensor,
        changes: tf.TensorArray,
        cosines: tf.TensorArray,
    ) -> tuple:
        images, squares, change, cosine = meet(turn, images, squares)
        return turn + 1, images, squares, changes.write(turn, change), cosines.write(turn, cosine)

    empty = [tf.TensorArray(images.dtype, number, element_shape=squares.shape) for _ in range(2)]
    start = (tf.constant(0), images, squares, *empty)
    *_, changes, cosines = tf.while_loop(lambda turn, *_: turn < number, advance, start)
    return changes.stack(), cosines.stack()


def _by_partner(by_turn: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    """Reorders results by turn, `(K turns, ..., K)`, to `(..., K, K)` with a column per partner."""
    rank = by_turn.shape.rank
    by_gradient = tf.transpose(by_turn, (*range(1, rank), 0))
    turns = tf.broadcast_to(tf.argsort(orders), by_gradient.shape)
    return tf.gather(by_gradient, turns, axis=-1, batch_dims=rank - 1)
