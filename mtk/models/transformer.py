"""The Transformer: encoder and decoder with layer norm before each sub-layer."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from mtk.models.attention import Attention, causal_bias, padding_bias, sinusoids
from mtk.models.seeds import layer_seeds


@keras.saving.register_keras_serializable("mtk")
class Transformer(keras.Model):
    """A pre-LN encoder-decoder from token ids to logits.

    Biases in all layers but the output projection; a last layer norm on each side; encoder
    embedding, decoder embedding and output projection are three matrices. Token id 0 is padding,
    which no position attends to. Dropout falls on the output of each attention and feed-forward
    layer.

    Args:
        vocabulary_size: Number of token ids, padding and all special tokens included.
        num_layers: Of the encoder, and of the decoder.
        width: Of the model, even.
        feed_forward_width: Of the hidden layer of each feed-forward block.
        num_heads: Of each attention, divides `width`.
        dropout: Rate.
        seed: Makes initial weights and dropout reproducible.

    Call arguments:
        inputs: `{"source": int32 (B, S), "target_in": int32 (B, T)}`; the latter is the target
            shifted to the right by one, behind a start token.
        training: Whether dropout is on.

    Returns:
        Logits of the next token, float32 `(B, T, vocabulary_size)`.

    Raises:
        ValueError: If `width` is odd or no multiple of `num_heads`.

    Reference:
        Vaswani et al., *Attention is all you need* (2017); Xiong et al., *On layer normalization in
        the Transformer architecture* (2020), figure 1b. The defaults are those of table 4 of Xin et
        al., *Do current multi-task optimization methods in deep learning even help?* (2022).
    """

    def __init__(
        self,
        vocabulary_size: int = 64_000,
        num_layers: int = 3,
        width: int = 512,
        feed_forward_width: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.1,
        seed: int | None = None,
        name: str | None = None,
    ):
        if width % num_heads or width % 2:
            raise ValueError(
                "`width` must be even and a multiple of `num_heads`. "
                f"Received: width={width}, num_heads={num_heads}"
            )
        super().__init__(name=name)
        self.hyperparameters = {
            "vocabulary_size": vocabulary_size,
            "num_layers": num_layers,
            "width": width,
            "feed_forward_width": feed_forward_width,
            "num_heads": num_heads,
            "dropout": dropout,
            "seed": seed,
        }
        self.width = width
        seeds = layer_seeds(seed)

        def stack(name: str, decoder: bool) -> list[_Block]:
            return [
                _Block(
                    width, feed_forward_width, num_heads, dropout, decoder, seeds, f"{name}_{i + 1}"
                )
                for i in range(num_layers)
            ]

        self.source_embedding = _embedding(vocabulary_size, width, seeds, "source_embedding")
        self.target_embedding = _embedding(vocabulary_size, width, seeds, "target_embedding")
        self.encoder = stack("encoder", decoder=False)
        self.decoder = stack("decoder", decoder=True)
        self.encoder_norm = _norm("encoder_norm")
        self.decoder_norm = _norm("decoder_norm")
        self.output_projection = _dense(vocabulary_size, seeds, "output_projection", bias=False)

    def build(self, *_: object) -> None:
        inner = (None, None, self.width)
        self.source_embedding.build((None, None))
        self.target_embedding.build((None, None))
        for layer in (*self.encoder, *self.decoder, self.encoder_norm, self.decoder_norm):
            layer.build(inner)
        self.output_projection.build(inner)

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        memory = self.encode(inputs["source"], training)
        return self.decode(inputs["target_in"], memory, inputs["source"], training)

    def encode(self, source: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Maps source tokens `(B, S)` to the memory `(B, S, width)` that the decoder reads."""
        x = self._embed(self.source_embedding, source)
        bias = padding_bias(source, x.dtype)
        for block in self.encoder:
            x = block(x, bias, training=training)
        return self.encoder_norm(x)

    def decode(
        self, target_in: tf.Tensor, memory: tf.Tensor, source: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Maps target tokens `(B, T)` and the memory of `source` to logits."""
        x = self._embed(self.target_embedding, target_in)
        bias = tf.minimum(
            causal_bias(tf.shape(target_in)[1], x.dtype), padding_bias(target_in, x.dtype)
        )
        source_bias = padding_bias(source, x.dtype)
        for block in self.decoder:
            x = block(x, bias, memory, source_bias, training=training)
        return tf.cast(self.output_projection(self.decoder_norm(x)), tf.float32)

    def _embed(self, embedding: layers.Embedding, tokens: tf.Tensor) -> tf.Tensor:
        # The embeddings start with a standard deviation of width^-1/2; this makes it one.
        x = embedding(tokens)
        x *= tf.cast(self.width, x.dtype) ** 0.5
        return x + tf.cast(sinusoids(tf.shape(tokens)[1], self.width), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**self.hyperparameters, "name": self.name}


class _Block(layers.Layer):
    """Self-attention, in a decoder attention to the memory, and a feed-forward block."""

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
        self.attention_norm = _norm("attention_norm")
        self.attention = Attention(width, num_heads, seeds, name="attention")
        if decoder:
            self.memory_norm = _norm("memory_norm")
            self.memory_attention = Attention(width, num_heads, seeds, name="memory_attention")
        self.feed_forward_norm = _norm("feed_forward_norm")
        self.hidden = _dense(feed_forward_width, seeds, "hidden", activation="relu")
        self.output_layer = _dense(width, seeds, "output")
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


def _norm(name: str) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=1e-6, name=name)


def _dense(
    units: int,
    seeds: Iterator[int | None],
    name: str,
    activation: str | None = None,
    bias: bool = True,
) -> layers.Dense:
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Dense(units, activation, use_bias=bias, kernel_initializer=initializer, name=name)


def _embedding(
    vocabulary_size: int, width: int, seeds: Iterator[int | None], name: str
) -> layers.Embedding:
    initializer = keras.initializers.RandomNormal(stddev=width**-0.5, seed=next(seeds))
    return layers.Embedding(vocabulary_size, width, embeddings_initializer=initializer, name=name)
