"""Singular values of gradients of different sizes, each to high relative precision."""

import tensorflow as tf

MOST_SWEEPS = 40
# An eigendecomposition loses gradients that are smaller than the largest by this factor.
_EIGEN_RANGE = 1e-5


def orthogonalize(columns: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Rotates the columns of a matrix until they are orthogonal: `T = A V`.

    The lengths of the columns of T are the singular values of A, V holds the right singular vectors
    and T, with its columns normalized, the left ones. If A is well-conditioned apart from the sizes
    of its columns, even the smallest singular value is accurate to nearly all digits, whereas an
    eigendecomposition of `A' A` has errors relative to the largest: 1e-16 of its square, or 1e-8 of
    it with XLA.

    Disjoint pairs of columns are rotated in parallel. The rotations start from the eigenvectors of
    `A' A` if these are accurate enough; then few or no further rotations are needed.

    Args:
        columns: Tensor `(n, K)`: A.

    Returns:
        T `(n, K)`, V `(K, K)`, and a boolean tensor `()`: whether the columns are orthogonal.

    Reference:
        Demmel & Veselić, *Jacobi's Method is More Accurate than QR* (1992), algorithm 4.1; Brent &
        Luk, *The Solution of Singular-Value and Symmetric Eigenvalue Problems on Multiprocessor
        Arrays* (1985), for the order of the pairs.
    """
    rows, num_tasks = columns.shape
    identity = tf.eye(num_tasks, dtype=columns.dtype)
    sizes = tf.norm(columns, axis=0)
    graded = tf.reduce_min(tf.where(sizes > 0.0, sizes, columns.dtype.max))
    graded = graded < _EIGEN_RANGE * tf.reduce_max(sizes)
    vectors = tf.linalg.eigh(tf.matmul(columns, columns, transpose_a=True))[1]
    # A further iteration makes the vectors orthogonal to the last digit, which XLA's are not.
    vectors = 0.5 * tf.matmul(vectors, 3.0 * identity - tf.matmul(vectors, vectors, True))
    vectors = tf.where(graded, identity, vectors)
    # A column of T and the column of V below it are rotated together; here they are rows. (An odd
    # number is padded with zeros.)
    both = tf.transpose(tf.concat([tf.matmul(columns, vectors), vectors], 0))
    both = tf.pad(both, [[0, num_tasks % 2], [0, 0]])
    precision = float(tf.experimental.numpy.finfo(columns.dtype.as_numpy_dtype).eps)
    # The eigenvectors reach this if the sizes are not far apart.
    tolerance = max(100.0 * precision, 1e-12)
    # A column below this norm is the rounding error of one that depends linearly on the others.
    least = precision**1.5 * tf.reduce_max(sizes)

    def unfinished(sweep: tf.Tensor, both: tf.Tensor) -> tf.Tensor:
        return (sweep < MOST_SWEEPS) & (_largest_cosine(both[:, :rows], least) > tolerance)

    def improve(sweep: tf.Tensor, both: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return sweep + 1, _sweep(both, rows, 10.0 * precision, least)

    both = tf.while_loop(unfinished, improve, (tf.constant(0), both))[1]
    found = tf.transpose(both[:num_tasks])
    solved = _largest_cosine(both[:, :rows], least) <= tolerance
    return found[:rows], found[rows:], solved


def _largest_cosine(rows: tf.Tensor, least: tf.Tensor) -> tf.Tensor:
    sizes = tf.norm(rows, axis=1, keepdims=True)
    units = tf.where(sizes > least, tf.math.divide_no_nan(rows, sizes), 0.0)
    cosines = tf.matmul(units, units, transpose_b=True)
    return tf.reduce_max(tf.abs(tf.linalg.set_diag(cosines, tf.zeros_like(sizes[:, 0]))))


def _sweep(both: tf.Tensor, size: int, tolerance: float, least: tf.Tensor) -> tf.Tensor:
    """Rotates every pair of rows once to make their first `size` entries orthogonal."""
    number = both.shape[0]
    half = number // 2

    def rotate(turn: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, ...]:
        one, other = first[:, :size], second[:, :size]
        squares = [tf.reduce_sum(rows**2, -1, keepdims=True) for rows in (one, other)]
        product = tf.reduce_sum(one * other, -1, keepdims=True)
        largest = tf.sqrt(squares[0]) * tf.sqrt(squares[1])
        rotates = tf.abs(product) > tolerance * largest
        rotates &= tf.minimum(*squares) > least**2
        ratio = tf.math.divide_no_nan(squares[1] - squares[0], 2.0 * product)
        sign = tf.where(ratio < 0.0, -tf.ones_like(ratio), tf.ones_like(ratio))
        tangent = sign / (tf.abs(ratio) + tf.sqrt(1.0 + ratio**2))
        tangent = tf.where(rotates, tangent, 0.0)
        cosine = 1.0 / tf.sqrt(1.0 + tangent**2)
        first, second = (
            cosine * (first - tangent * second),
            cosine * (tangent * first + second),
        )
        if half > 1:
            # Round robin: all but the first move up one place.
            first, second = (
                tf.concat([first[:1], second[:1], first[1:-1]], 0),
                tf.concat([second[1:], first[-1:]], 0),
            )
        return turn + 1, first, second

    start = (tf.constant(0), both[:half], both[half:])
    _, first, second = tf.while_loop(lambda turn, *_: turn < number - 1, rotate, start)
    return tf.concat([first, second], 0)
