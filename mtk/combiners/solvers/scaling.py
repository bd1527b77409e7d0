"""Scaling of Gramians for the solvers: cosines, without the norms of the gradients."""

from typing import NamedTuple

import tensorflow as tf


class Scaled(NamedTuple):
    """A Gramian split into directions and sizes: `gramian = lengths_i lengths_j cosines_ij`.

    Attributes:
        cosines: Tensor `(K, K)`, positive semidefinite with a unit diagonal. A task without a
            direction (absent, or with a zero gradient) is orthogonal to all others.
        lengths: Tensor `(K,)`, norms of the gradients; zero for a task without a direction.
        directed: Boolean tensor `(K,)`: which tasks have a direction.
    """

    cosines: tf.Tensor
    lengths: tf.Tensor
    directed: tf.Tensor


def solver_dtype() -> tf.DType:
    """Returns the precision of the solvers: float64, or float32 where there is a TPU."""
    return tf.float32 if tf.config.list_logical_devices("TPU") else tf.float64


def ridge(dtype: tf.DType) -> float:
    """Returns the number added to a unit diagonal so that factorizations succeed.

    1.5e-10 in float64, far below the rounding error of a Gramian computed in float32.

    Args:
        dtype: A floating type: the precision of the factorization.
    """
    return 0.01 * float(tf.experimental.numpy.finfo(dtype.as_numpy_dtype).eps) ** 0.5


def scale(gramian: tf.Tensor, present: tf.Tensor) -> Scaled:
    """Splits a Gramian into cosines and lengths.

    Gradients whose norms differ by a factor of 1e4 have a Gramian whose entries differ by 1e8; the
    cosines do not depend on the norms. Rounding in the Gramian can give the cosines negative
    eigenvalues of about -1e-7, along which a quadratic program has no minimum: they are set to 0.

    Args:
        gramian: Tensor `(K, K)`.
        present: Boolean tensor `(K,)`.
    """
    return scale_and_decompose(gramian, present)[0]


def scale_and_decompose(
    gramian: tf.Tensor, present: tf.Tensor
) -> tuple[Scaled, tf.Tensor, tf.Tensor]:
    """Like `scale`; also returns the eigenvalues `(K,)` and eigenvectors `(K, K)` of the cosines.

    Args:
        gramian: Tensor `(K, K)`.
        present: Boolean tensor `(K,)`.
    """
    gramian = tf.cast(gramian, solver_dtype())
    lengths = tf.sqrt(tf.maximum(tf.linalg.diag_part(gramian), 0.0))
    directed = present & (lengths > 0.0)
    lengths = tf.where(directed, lengths, 0.0)
    inverse = tf.math.reciprocal_no_nan(lengths)
    cosines = gramian * inverse[:, None] * inverse[None, :]
    cosines = tf.linalg.set_diag(cosines, tf.ones_like(lengths))
    values, vectors = tf.linalg.eigh(cosines)
    positive_values = tf.maximum(values, 0.0)
    positive = tf.matmul(vectors * positive_values, vectors, transpose_b=True)
    cosines = tf.where(values[0] < 0.0, positive, cosines)
    return Scaled(cosines, lengths, directed), positive_values, vectors
