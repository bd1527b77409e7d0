"""The Transformer: encoder and decoder with layer norm before each sub-layer."""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import keras
import tensorflow as tf
from keras import layers

from mtk.models.attention import (
    KeysAndValues,
    ancestor_bias,
    causal_bias,
    padding_bias,
    sinusoids,
)
from mtk.models.seeds import layer_seeds
from mtk.models.transformer_block import Block, dense, norm

# Cached keys and values of a decoder, for each block; see `Attention.step`.
Past: TypeAlias = list[KeysAndValues]


class Memory(NamedTuple):
    """Inputs of a decoder from its sources, at every step.

    Attributes:
        pairs: Keys and values for each block, each `(B, num_heads, S, width / num_heads)`.
        bias: Masks padding, `(B, 1, 1, S)`.
    """

    pairs: list[KeysAndValues]
    bias: tf.Tensor


@keras.saving.register_keras_serializable("mtk")
class Transformer(keras.Model):
    """A pre-LN encoder-decoder from token ids to logits.

    All layers but the output projection have biases; encoder and decoder end with a layer norm;
    encoder embedding, decoder embedding and output projection are separate matrices. Token id 0 is
    padding, which no position attends to. Dropout is applied to the output of each attention and
    feed-forward layer.

    Args:
        vocabulary_size: Number of token ids, including padding and all special tokens.
        num_layers: Number of layers of the encoder, and of the decoder.
        width: Width of the model, even.
        feed_forward_width: Width of the hidden layer of each feed-forward block.
        num_heads: Number of heads of each attention, a divisor of `width`.
        dropout: Dropout rate.
        seed: Makes initial weights and dropout reproducible.

    Call arguments:
        inputs: `{"source": int32 (B, S), "target_in": int32 (B, T)}`; the latter is the target
            shifted to the right by one, after a start token.
        training: Whether to apply dropout.

    Returns:
        Logits of the next token, float32 `(B, T, vocabulary_size)`.

    Raises:
        ValueError: If `width` is odd or not a multiple of `num_heads`.

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
        self.num_heads = num_heads
        seeds = layer_seeds(seed)

        def stack(name: str, decoder: bool) -> list[Block]:
            return [
                Block(
                    width, feed_forward_width, num_heads, dropout, decoder, seeds, f"{name}_{i + 1}"
                )
                for i in range(num_layers)
            ]

        self.source_embedding = _embedding(vocabulary_size, width, seeds, "source_embedding")
        self.target_embedding = _embedding(vocabulary_size, width, seeds, "target_embedding")
        self.encoder = stack("encoder", decoder=False)
        self.decoder = stack("decoder", decoder=True)
        self.encoder_norm = norm("encoder_norm")
        self.decoder_norm = norm("decoder_norm")
        self.output_projection = dense(vocabulary_size, seeds, "output_projection", bias=False)

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
        return self._logits(x)

    def remember(self, source: tf.Tensor) -> Memory:
        """Encodes source tokens `(B, S)` into the memory that `decode_step` reads."""
        memory = self.encode(source)
        pairs = [block.memory_attention.keys_and_values(memory) for block in self.decoder]
        return Memory(pairs, padding_bias(source, memory.dtype))

    def decode_step(
        self,
        tokens: tf.Tensor,
        position: tf.Tensor,
        ancestors: tf.Tensor,
        past: Past,
        memory: Memory,
    ) -> tuple[tf.Tensor, Past]:
        """Runs the decoder on one token of each of k sequences per source, for inference.

        Equals `decode` at that position, without recomputing the earlier ones.

        Args:
            tokens: `(B, k)`.
            position: Position of the tokens, scalar int32.
            ancestors: Index of each sequence's token among the k of each position, int32
                `(B, k, L)`: at `position` its own index, after it -1.
            past: From the call for the previous position; for the first, `empty_past`.
            memory: From `remember`.

        Returns:
            Logits of the next tokens, float32 `(B, k, vocabulary_size)`, and `past` with these
            tokens in it.
        """
        x = self._embed(self.target_embedding, tokens[..., None], position)[..., 0, :]
        bias = ancestor_bias(ancestors, x.dtype)
        known: Past = []
        for block, own, pair in zip(self.decoder, past, memory.pairs, strict=True):
            x, own = block.step(x, own, position, bias, pair, memory.bias)
            known.append(own)
        return self._logits(x), known

    def empty_past(self, sources: tf.Tensor | int, sequences: int, length: int) -> Past:
        """Returns an empty `past`, with room for `length` tokens in each of the sequences."""
        heads = self.num_heads
        shape = (sources, heads, length * sequences, self.width // heads)
        zeros = tf.zeros(shape, self.compute_dtype)
        return [(zeros, zeros) for _ in self.decoder]

    def _logits(self, x: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.output_projection(self.decoder_norm(x)), tf.float32)

    def _embed(
        self, embedding: layers.Embedding, tokens: tf.Tensor, first: tf.Tensor | int = 0
    ) -> tf.Tensor:
        # The embeddings are initialized with a standard deviation of width^-1/2; this makes it one.
        x = embedding(tokens)
        x *= tf.cast(self.width, x.dtype) ** 0.5
        return x + tf.cast(sinusoids(tf.shape(tokens)[-1], self.width, first), x.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**self.hyperparameters, "name": self.name}


def _embedding(
    vocabulary_size: int, width: int, seeds: Iterator[int | None], name: str
) -> layers.Embedding:
    initializer = keras.initializers.RandomNormal(stddev=width**-0.5, seed=next(seeds))
    return layers.Embedding(vocabulary_size, width, embeddings_initializer=initializer, name=name)
