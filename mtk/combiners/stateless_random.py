"""Random numbers that are a function of (seed, step)."""

import math

import tensorflow as tf

from mtk.combiners.base import Combiner


class RandomKeys:
    """Counts a combiner's steps and gives each its own random numbers.

    The counter is the only state: a run resumed from a checkpoint draws the same numbers as an
    uninterrupted one, and so do all replicas.

    Args:
        combiner: The owner of the counter; call this in its `build`.
        seed: Integer; runs with the same seed draw the same numbers.
    """

    def __init__(self, combiner: Combiner, seed: int):
        self.seed = seed
        self.step = combiner.add_state("step", (), dtype="int64")

    def next_key(self) -> tf.Tensor:
        """Returns the key `(2,)` of this step's random numbers, and advances the counter."""
        key = self.key()
        self.step.assign_add(1)
        return key

    def key(self) -> tf.Tensor:
        """Returns the key that `next_key` will return."""
        return tf.stack([tf.constant(self.seed, tf.int64), tf.convert_to_tensor(self.step)])


def uniform(key: tf.Tensor, shape: tuple[int, ...] | tf.Tensor) -> tf.Tensor:
    """Returns uniform numbers from [0, 1), equal on every device, with and without XLA.

    The bits of a named generator are reproducible, but TensorFlow's conversion to floats is not.
    The upper 24 bits are used, which a float32 holds exactly.

    Args:
        key: Integer tensor `(2,)`; the same key gives the same numbers.
        shape: Shape of the result.

    Returns:
        Tensor of the shape, float32.
    """
    bits = tf.random.stateless_uniform(
        shape, key, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    return tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) * 2.0**-24


def normal(key: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Returns standard normal numbers by the Box-Muller method.

    Args:
        key: Integer tensor `(2,)`; the same key gives the same numbers.
        size: How many.

    Returns:
        Tensor `(size,)`, float32.
    """
    first, second = tf.unstack(uniform(key, (2, size)))
    # 1 - u is never zero.
    radius = tf.sqrt(-2.0 * tf.math.log(1.0 - first))
    return radius * tf.cos(2.0 * math.pi * second)


def log_gamma(key: tf.Tensor, concentration: float, size: int | tf.Tensor) -> tf.Tensor:
    """Returns logarithms of numbers with a gamma distribution of scale one.

    Uses the method of Marsaglia and Tsang (2000): takes the first accepted one of 16 proposals,
    each accepted with a probability above 0.95. Logarithms, since small concentrations underflow.

    Args:
        key: Integer tensor `(2,)`; the same key gives the same numbers.
        concentration: Shape parameter of the distribution, positive.
        size: How many.

    Returns:
        Tensor `(size,)`, float32.
    """
    if concentration == 1.0:
        # An exponential variate. 1 - u is never zero, but may be one.
        return tf.math.log(tf.maximum(-tf.math.log(1.0 - uniform(key, (size,))), 2.0**-25))
    # Below one, a variate of concentration + 1, times u^(1 / concentration).
    boost = concentration < 1.0
    d = concentration + boost - 1.0 / 3.0
    # A normal number takes two uniform ones, acceptance and boost one each.
    drawn = 1.0 - uniform(key, (4, 16, size))
    x = tf.sqrt(-2.0 * tf.math.log(drawn[0])) * tf.cos(2.0 * math.pi * drawn[1])
    v = (1.0 + x / math.sqrt(9.0 * d)) ** 3
    log_v = tf.math.log(tf.where(v > 0.0, v, 1.0))
    accepted = (v > 0.0) & (tf.math.log(drawn[2]) < 0.5 * x**2 + d * (1.0 - v + log_v))
    first = tf.argmax(tf.cast(accepted, tf.int32), axis=0)
    found = math.log(d) + tf.gather(tf.transpose(log_v), first, batch_dims=1)
    return found + tf.math.log(drawn[3, 0]) / concentration if boost else found


def orders(key: tf.Tensor, num_tasks: int) -> tf.Tensor:
    """Returns an independent random order of the tasks in each row.

    Args:
        key: Integer tensor `(2,)`; the same key gives the same orders.
        num_tasks: K.

    Returns:
        Integer tensor `(K, K)`; each row holds the numbers 0 to K - 1.
    """
    return tf.argsort(uniform(key, (num_tasks, num_tasks)), axis=-1)
