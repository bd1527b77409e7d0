import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtk.models.attention import Attention, causal_bias, padding_bias, sinusoids
from mtk.models.seeds import layer_seeds


def _attention(width: int, heads: int) -> Attention:
    layer = Attention(width, heads, layer_seeds(0))
    layer.build()
    generator = np.random.default_rng(1)
    for dense in (layer.query, layer.key, layer.value, layer.output_projection):
        dense.bias.assign(generator.normal(size=width))
    return layer


def _by_loops(layer: Attention, queries, memory, bias):
    """Computes attention in float64, in a loop over positions and heads."""

    def apply(dense, x):
        return x.astype(float) @ dense.kernel.numpy().astype(float) + dense.bias.numpy()

    q, k, v = apply(layer.query, queries), apply(layer.key, memory), apply(layer.value, memory)
    size = layer.width // layer.num_heads
    joined = np.zeros_like(q)
    for b, t, h in itertools.product(range(q.shape[0]), range(q.shape[1]), range(layer.num_heads)):
        part = slice(h * size, (h + 1) * size)
        logits = np.array([q[b, t, part] @ k[b, s, part] for s in range(k.shape[1])]) / size**0.5
        weights = np.exp(logits + bias[b, 0, t])
        joined[b, t, part] = (weights / weights.sum()) @ v[b, :, part]
    return apply(layer.output_projection, joined)


@pytest.mark.parametrize(("width", "heads", "length"), [(8, 2, 5), (12, 3, 1), (6, 1, 4)])
def test_equals_the_definition(width, heads, length):
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(2, length, width)).astype("float32")
    memory = generator.normal(size=(2, 4, width)).astype("float32")
    bias = np.where(generator.random((2, 1, length, 4)) < 0.3, -6e4, 0.0).astype("float32")
    layer = _attention(width, heads)
    expected = _by_loops(layer, queries, memory, bias)
    found = layer(tf.constant(queries), tf.constant(memory), tf.constant(bias))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_padding_and_causal_biases():
    tokens = tf.constant([[5, 0, 7, 0]])
    np.testing.assert_array_equal(padding_bias(tokens, tf.float32)[0, 0, 0] < -1e4, [0, 1, 0, 1])
    np.testing.assert_array_equal(
        causal_bias(3, tf.float32)[0, 0] < -1e4, [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    )
    assert np.isfinite(padding_bias(tokens, tf.float16)).all()


def test_sinusoids():
    found = sinusoids(50, 16).numpy()
    position, channel = 37, 3
    angle = position / 10_000 ** (2 * channel / 16)
    assert found[position, channel] == pytest.approx(np.sin(angle), abs=1e-5)
    assert found[position, 8 + channel] == pytest.approx(np.cos(angle), abs=1e-5)
    # The dot product of two positions depends only on their distance.
    products = found @ found.T
    np.testing.assert_allclose(products[:-5, 5:].diagonal(), products[0, 5], atol=1e-4)
