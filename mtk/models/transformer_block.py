"""One layer of a Transformer's encoder or decoder."""

from collections.abc import Iterator

import keras
import tensorflow as tf
from keras import layers

from mtk.models.attention import Attention, KeysAndValues


class Block(layers.Layer):
    """Self-attention, in a decoder cross-attention to the memory, and a feed-forward block.

    Layer norm precedes each of them; dropout is applied to the output of each.

    Args:
        width: Width of inputs and outputs.
        feed_forward_width: Width of the hidden layer.
        num_heads: Number of heads of each attention.
        dropout: Dropout rate.
        decoder: Whether it attends to a memory.
        seeds: Seeds of initializers and dropout.
    """

    def __init__(
        self,
        width: int,
        feed_forward_width: int,
        num_heads: int,
        dropout: float,
        decoder: bool,
        seeds: Iterator[int | None],
        name: str,
    ):
        super().__init__(name=name)
        self.attention_norm = norm("attention_norm")
        self.attention = Attention(width, num_heads, seeds, name="attention")
        if decoder:
            self.memory_norm = norm("memory_norm")
            self.memory_attention = Attention(width, num_heads, seeds, name="memory_attention")
        self.feed_forward_norm = norm("feed_forward_norm")
        self.hidden = dense(feed_forward_width, seeds, "hidden", activation="relu")
        self.output_layer = dense(width, seeds, "output")
        self.dropout = layers.Dropout(dropout, seed=next(seeds), name="dropout")
        self.decoder = decoder

    def build(self, shape: tuple[None, None, int]) -> None:
        for name in ("attention_norm", "attention", "feed_forward_norm", "hidden"):
            getattr(self, name).build(shape)
        if self.decoder:
            self.memory_norm.build(shape)
            self.memory_attention.build(shape)
        self.output_layer.build((*shape[:-1], self.hidden.units))

    def call(
        self,
        x: tf.Tensor,
        bias: tf.Tensor,
        memory: tf.Tensor | None = None,
        memory_bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        normed = self.attention_norm(x)
        x += self.dropout(self.attention(normed, normed, bias), training=training)
        if self.decoder:
            attended = self.memory_attention(self.memory_norm(x), memory, memory_bias)
            x += self.dropout(attended, training=training)
        hidden = self.hidden(self.feed_forward_norm(x))
        return x + self.dropout(self.output_layer(hidden), training=training)

    def step(
        self,
        x: tf.Tensor,
        past: KeysAndValues,
        position: tf.Tensor,
        bias: tf.Tensor,
        memory: KeysAndValues,
        memory_bias: tf.Tensor,
    ) -> tuple[tf.Tensor, KeysAndValues]:
        """Runs a decoder's block, for inference, on one token of each of k sequences per source.

        Args:
            x: `(B, k, width)`.
            past: Keys and values of earlier tokens; see `Attention.step`.
            position: Position of the tokens.
            bias: Masks all but each sequence's own tokens.
            memory: Result of `memory_attention.keys_and_values` for the memory.
            memory_bias: Masks the padding of the sources.

        Returns:
            `(B, k, width)`, and `past` with these tokens in it.
        """
        attended, past = self.attention.step(self.attention_norm(x), past, position, bias)
        x += attended
        x += self.memory_attention.attend(self.memory_norm(x), *memory, memory_bias)
        return x + self.output_layer(self.hidden(self.feed_forward_norm(x))), past


def norm(name: str) -> layers.LayerNormalization:
    """Makes a layer norm."""
    return layers.LayerNormalization(epsilon=1e-6, name=name)


def dense(
    units: int,
    seeds: Iterator[int | None],
    name: str,
    activation: str | None = None,
    bias: bool = True,
) -> layers.Dense:
    """Makes a dense layer with Glorot uniform initialization."""
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Dense(units, activation, use_bias=bias, kernel_initializer=initializer, name=name)
