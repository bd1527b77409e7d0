"""Multi-head attention, its masks, and positional encoding."""

from collections.abc import Iterator
from typing import TypeAlias

import keras
import tensorflow as tf
from keras import layers

# Added to the logits of masked positions. Finite, so that a fully masked row gives a mean instead
# of NaN; near the largest float16 number.
_UNSEEN = -6e4

# Each `(B, num_heads, S, width / num_heads)`.
KeysAndValues: TypeAlias = tuple[tf.Tensor, tf.Tensor]


class Attention(layers.Layer):
    """Multi-head scaled dot-product attention, with biases in all four projections.

    Used instead of `keras.layers.MultiHeadAttention`, which takes longer for a training step on a
    CPU.

    Args:
        width: Size of the inputs, of the projections of all heads together, and of the output.
        num_heads: Number of heads, a divisor of `width`.
        seeds: Seeds of the initializers.

    Reference:
        Vaswani et al., *Attention is all you need* (2017), section 3.2.
    """

    def __init__(
        self, width: int, num_heads: int, seeds: Iterator[int | None], name: str | None = None
    ):
        super().__init__(name=name)
        self.width = width
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output_projection = (
            layers.Dense(width, kernel_initializer=_glorot(next(seeds)), name=part)
            for part in ("query", "key", "value", "output")
        )

    def build(self, *_: object) -> None:
        for dense in (self.query, self.key, self.value, self.output_projection):
            dense.build((None, None, self.width))

    def call(self, queries: tf.Tensor, memory: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """Computes attention.

        Args:
            queries: `(B, T, width)`.
            memory: `(B, S, width)`, from which keys and values are made.
            bias: Added to the logits; broadcasts to `(B, num_heads, T, S)`.

        Returns:
            `(B, T, width)`.
        """
        return self.attend(queries, *self.keys_and_values(memory), bias)

    def keys_and_values(self, memory: tf.Tensor) -> KeysAndValues:
        """Maps `(B, S, width)` to keys and values, each `(B, num_heads, S, width / num_heads)`."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def attend(
        self, queries: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, bias: tf.Tensor
    ) -> tf.Tensor:
        """Computes attention to the result of `keys_and_values`; otherwise as `call`."""
        # Scaled before the product: T x width numbers instead of heads x T x S.
        scale = (self.width // self.num_heads) ** -0.5
        query = self._split(self.query(queries) * scale)
        weights = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True) + bias)
        joined = tf.transpose(tf.matmul(weights, values), (0, 2, 1, 3))
        return self.output_projection(tf.reshape(joined, tf.shape(queries)))

    def step(
        self, tokens: tf.Tensor, past: KeysAndValues, position: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """Computes attention of one token of each of k sequences to itself and its predecessors.

        The sequences are stored as one: `L` positions with k tokens each. A sequence can thus
        continue another one without a copy: the bias selects its own tokens.

        Args:
            tokens: `(B, k, width)`.
            past: Keys and values, each `(B, num_heads, L k, width / num_heads)`.
            position: Position of the tokens, scalar int32.
            bias: Masks all but each sequence's own tokens, `(B, 1, k, L k)`.

        Returns:
            `(B, k, width)`, and `past` with these tokens' keys and values at `position`.
        """
        keys, values = self.keys_and_values(tokens)
        known = _written(past[0], keys, position), _written(past[1], values, position)
        return self.attend(tokens, *known, bias), known

    def _split(self, x: tf.Tensor) -> tf.Tensor:
        """`(B, T, width)` to `(B, num_heads, T, width / num_heads)`."""
        shape = tf.shape(x)
        x = tf.reshape(x, (shape[0], shape[1], self.num_heads, self.width // self.num_heads))
        return tf.transpose(x, (0, 2, 1, 3))


def padding_bias(tokens: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the bias `(B, 1, 1, S)` that masks padding, id 0, in tokens `(B, S)`."""
    return tf.cast(tokens == 0, dtype)[:, None, None, :] * _UNSEEN


def causal_bias(length: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the bias `(1, 1, length, length)` that masks later positions."""
    past = tf.linalg.band_part(tf.ones((length, length), dtype), -1, 0)
    return (1 - past)[None, None] * _UNSEEN


def ancestor_bias(ancestors: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the bias that masks the tokens of other sequences for each of k sequences.

    Args:
        ancestors: Index of each sequence's token among the k of a position, int32 `(B, k, L)`; -1
            where it has none yet.
        dtype: Type of the bias.

    Returns:
        `(B, 1, k, L k)`, for `Attention.step`.
    """
    own = tf.one_hot(ancestors, ancestors.shape[1], dtype=dtype)
    return (1 - tf.reshape(own, (-1, 1, own.shape[1], own.shape[2] * own.shape[3]))) * _UNSEEN


def sinusoids(length: tf.Tensor, width: int, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns the encoding of the positions from `first` on, float32 `(length, width)`.

    `sin(p / 10000^(2i / width))` in the first half of the channels, the cosines in the second. In
    the paper they alternate, which is a mere permutation of the channels.

    Reference:
        Vaswani et al., *Attention is all you need* (2017), section 3.5.
    """
    position = tf.cast(first + tf.range(length), tf.float32)[:, None]
    frequency = 10_000.0 ** (-tf.range(0, width, 2, dtype=tf.float32) / width)
    return tf.concat([tf.sin(position * frequency), tf.cos(position * frequency)], axis=1)


def _written(past: tf.Tensor, new: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
    """Writes `(B, heads, k, size)` to one of L positions of `(B, heads, L k, size)`, in place."""
    _, heads, room, size = past.shape
    sequences = new.shape[2]
    rows = tf.reshape(past, (-1, room // sequences, sequences * size))
    number = tf.shape(rows)[0]
    where = tf.stack([tf.range(number), tf.fill((number,), position)], axis=1)
    rows = tf.tensor_scatter_nd_update(rows, where, tf.reshape(new, (-1, sequences * size)))
    return tf.reshape(rows, (-1, heads, room, size))


def _glorot(seed: int | None) -> keras.Initializer:
    return keras.initializers.GlorotUniform(seed=seed)
