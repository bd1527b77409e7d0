"""Per-task gradients: ways to compute them, and what is computed from them."""

from collections.abc import Sequence

import tensorflow as tf


def gramian(task_gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns the inner products of the task gradients.

    Summed variable by variable: the `(K, P)` matrix of all gradients is never made.

    Args:
        task_gradients: List with one tensor `(K, *variable.shape)` per variable.

    Returns:
        Tensor `(K, K)`, float32.
    """
    products = []
    for stacked in task_gradients:
        rows = tf.reshape(stacked, (stacked.shape[0], -1))
        products.append(tf.matmul(rows, rows, transpose_b=True))
    return tf.add_n(products)


def weighted_sum(task_gradients: Sequence[tf.Tensor], weights: tf.Tensor) -> list[tf.Tensor]:
    """Returns `sum_k weights[k] * gradient_k` for each variable.

    Args:
        task_gradients: List with one tensor `(K, *variable.shape)` per variable.
        weights: Tensor `(K,)`.

    Returns:
        List with one tensor of the variable's shape per variable.
    """
    return [tf.tensordot(weights, stacked, 1) for stacked in task_gradients]
