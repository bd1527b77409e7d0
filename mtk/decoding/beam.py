"""Beam search with a Transformer."""

from typing import Any

import tensorflow as tf

from mtk.decoding.search import Hypotheses, Search
from mtk.models import Transformer


def beam_search(
    network: Transformer,
    source: tf.Tensor,
    max_length: int,
    beam: int = 4,
    length_penalty: float = 0.6,
    start: int = 1,
    end: int = 2,
) -> Hypotheses:
    """Finds a probable target sequence for each source.

    The keys and values of earlier tokens are cached, so that a step runs the network's layers for
    one token. Call it inside a `tf.function`; shapes are static, so that it compiles with XLA.

    Args:
        network: A built Transformer.
        source: Token ids, int32 `(B, S)`, padded with 0.
        max_length: Largest number of target tokens, including the end token.
        beam: Beam size; 1 is greedy search.
        length_penalty: Alpha of the length penalty; 0 compares plain log-probabilities.
        start: Id of the start token.
        end: Id of the end token.

    Returns:
        `(ids, scores)`: int32 `(B, max_length)`, up to and including the end token unless there was
        no room for it, then 0; and float32 `(B,)`, see `Search`.

    Raises:
        ValueError: If an argument is out of range.
    """
    search = Search(max_length, beam, length_penalty, start, end)
    memory = network.remember(source)

    def step(
        tokens: tf.Tensor, position: tf.Tensor, ancestors: tf.Tensor, past: Any
    ) -> tuple[tf.Tensor, Any]:
        return network.decode_step(tokens, position, ancestors, past, memory)

    sources = tf.shape(source)[0]
    return search.run(step, network.empty_past(sources, beam, max_length), sources)
