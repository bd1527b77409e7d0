"""Multi-head attention, its masks, and the positions that it cannot see by itself."""

from collections.abc import Iterator
from typing import TypeAlias

import keras
import tensorflow as tf
from keras import layers

# Added to the logits of positions that must not be seen. Finite, so that a row with nothing to see
# gives a mean and not NaN; float16 has no larger number.
_UNSEEN = -6e4

# Each `(B, num_heads, S, width / num_heads)`.
KeysAndValues: TypeAlias = tuple[tf.Tensor, tf.Tensor]


class Attention(layers.Layer):
    """Multi-head scaled dot-product attention, with biases in all four projections.

    Written out, because `keras.layers.MultiHeadAttention` takes longer for a training step on a
    CPU.

    Args:
        width: Of the inputs, of the projections of all heads together, and of the output.
        num_heads: Divides `width`.
        seeds: Of the initializers.

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
        """Attends.

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
        """Attends to what `keys_and_values` has made; otherwise as `call`."""
        # Scaled before the product: T x width numbers instead of heads x T x S.
        scale = (self.width // self.num_heads) ** -0.5
        query = self._split(self.query(queries) * scale)
        weights = tf.nn.softmax(tf.matmul(query, keys, transpose_b=True) + bias)
        joined = tf.transpose(tf.matmul(weights, values), (0, 2, 1, 3))
        return self.output_projection(tf.reshape(joined, tf.shape(queries)))

    def step(
        self, tokens: tf.Tensor, past: KeysAndValues, position: tf.Tensor, bias: tf.Tensor
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """Lets one token of each of k sequences attend to itself and to those before it.

        The sequences lie in one: `L` positions with room for k tokens each. A sequence can so go
        on from another one without being copied: the bias tells which tokens are its own.

        Args:
            tokens: `(B, k, width)`.
            past: Keys and values, each `(B, num_heads, L k, width / num_heads)`.
            position: Of the tokens, scalar int32.
            bias: Shows to each sequence its own tokens, `(B, 1, k, L k)`.

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
    """Returns the bias `(B, 1, 1, S)` that hides padding, id 0, in tokens `(B, S)`."""
    return tf.cast(tokens == 0, dtype)[:, None, None, :] * _UNSEEN


def causal_bias(length: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the bias `(1, 1, length, length)` that hides what comes later."""
    past = tf.linalg.band_part(tf.ones((length, length), dtype), -1, 0)
    return (1 - past)[None, None] * _UNSEEN


def ancestor_bias(ancestors: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the bias that shows to k sequences their own tokens among those of all.

    Args:
        ancestors: Which of the k tokens of a position belongs to a sequence, int32 `(B, k, L)`; -1
            where none does yet.
        dtype: Of the bias.

    Returns:
        `(B, 1, k, L k)`, for `Attention.step`.
    """
    own = tf.one_hot(ancestors, ancestors.shape[1], dtype=dtype)
    return (1 - tf.reshape(own, (-1, 1, own.shape[1], own.shape[2] * own.shape[3]))) * _UNSEEN


def sinusoids(length: tf.Tensor, width: int, first: tf.Tensor | int = 0) -> tf.Tensor:
    """Returns the encoding of the positions from `first` on, float32 `(length, width)`.

    `sin(p / 10000^(2i / width))` in the first half of the channels, the cosines in the second. The
    paper has them alternate: a permutation of channels, which nothing after it can tell apart.

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
