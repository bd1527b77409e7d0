"""Beam search with small Transformers with random weights."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.decoding import beam_search
from mtk.models import Transformer
from tests.decoding import by_hand
from tests.quick import some

VOCABULARY, LENGTH = 6, 4


@pytest.fixture(scope="module")
def network() -> Transformer:
    network = Transformer(VOCABULARY, 2, 8, 16, 2, dropout=0.5, seed=0)
    network.build()
    return network


def redraw(network: Transformer, seed: int) -> None:
    """Draws weights large enough that the outputs depend on the source."""
    generator = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        if "norm" not in variable.path:
            variable.assign(generator.normal(scale=0.7, size=variable.shape))


def sources(seed: int, number: int) -> np.ndarray:
    ids = np.random.default_rng(seed).integers(1, VOCABULARY, (number, 5)).astype("int32")
    ids[0, 3:] = 0
    return ids


def model(network: Transformer, source: np.ndarray, length: int = LENGTH) -> by_hand.Model:
    """The network without a cache: one forward pass per prefix."""
    prefixes = sorted({ids[:-1] for ids in by_hand.all_hypotheses(VOCABULARY, length)})
    target_in = [by_hand.padded((by_hand.START, *prefix), length) for prefix in prefixes]
    repeated = np.repeat(source[None], len(prefixes), axis=0)
    logits = network({"source": repeated, "target_in": np.array(target_in, "int32")}).numpy()
    known = {
        prefix: by_hand.log_softmax(row[len(prefix)])
        for prefix, row in zip(prefixes, logits, strict=True)
    }
    return known.__getitem__


@functools.cache
def compiled(network: Transformer, length: int = LENGTH, jit: bool = False, **arguments):
    """Returns a search with the network's current weights, traced once for all sources."""
    signature = None if jit else [tf.TensorSpec((None, None), tf.int32)]

    @tf.function(jit_compile=jit, autograph=False, input_signature=signature)
    def search(source):
        return beam_search(network, source, length, **arguments)

    return search


@pytest.mark.parametrize("alpha", some([0.0, 0.6], [0.6]))
def test_equals_exhaustive_search(network, alpha):
    hypotheses = by_hand.all_hypotheses(VOCABULARY, LENGTH)
    search = compiled(network, beam=len(hypotheses), length_penalty=alpha)
    found = set()
    for seed in range(10):
        redraw(network, seed)
        source = sources(seed, 2)
        ids, scores = search(source)
        for row in range(2):
            table = model(network, source[row])
            known = {ids: by_hand.score(table, ids, alpha) for ids in hypotheses}
            best = max(known, key=known.__getitem__)
            assert ids[row].numpy().tolist() == by_hand.padded(best, LENGTH)
            assert scores[row].numpy() == pytest.approx(known[best], abs=1e-4)
            found.add(best)
    assert len(found) > 3  # Otherwise the networks would be too uniform for the test.


@pytest.mark.slow
@pytest.mark.parametrize("beam", some([1, 3], [3]))
def test_equals_the_reference_search(network, beam):
    search = compiled(network, beam=beam)
    for seed in range(10):
        redraw(network, seed)
        source = sources(seed, 2)
        ids = search(source).ids.numpy()
        for row in range(2):
            table = model(network, source[row])
            expected = by_hand.beam_search(table, LENGTH, beam, 0.6)
            assert ids[row].tolist() == by_hand.padded(expected, LENGTH)
            if beam == 1:
                assert expected == by_hand.greedy(table, LENGTH)


def test_cached_steps_equal_one_forward_pass(network):
    """Sequences continue others at random, as in beam search."""
    redraw(network, 1)
    generator = np.random.default_rng(2)
    source = sources(1, 3)
    memory, past = network.remember(source), network.empty_past(3, 2, 9)
    # Values beyond the current position must not be read.
    past = tf.nest.map_structure(lambda x: x + 7.0, past)
    targets, ancestors = np.zeros((3, 2, 0), "int32"), np.full((3, 2, 9), -1, "int32")
    for position in range(9):
        tokens = generator.integers(1, VOCABULARY, (3, 2, 1)).astype("int32")
        targets = np.concatenate([targets, tokens], axis=2)
        ancestors[:, :, position] = [0, 1]
        logits, past = network.decode_step(
            tf.constant(tokens[..., 0]), tf.constant(position), ancestors, past, memory
        )
        for row in range(2):
            whole = network({"source": source, "target_in": targets[:, row]})
            np.testing.assert_allclose(logits[:, row], whole[:, position], atol=1e-5)
        parents = generator.integers(0, 2, (3, 2, 1))
        targets = np.take_along_axis(targets, parents, axis=1)
        ancestors = np.take_along_axis(ancestors, parents, axis=1)


@pytest.mark.slow
def test_result_is_independent_of_source_padding(network):
    redraw(network, 3)
    search = compiled(network, length=12)
    source = sources(3, 4)
    plain, padded = search(source), search(np.pad(source, ((0, 0), (0, 6))))
    np.testing.assert_array_equal(plain.ids, padded.ids)
    np.testing.assert_allclose(plain.scores, padded.scores, atol=1e-5)


@pytest.mark.slow
def test_compiles_with_xla(network):
    redraw(network, 4)
    source = sources(4, 3)
    plain = compiled(network, beam=3)(source)
    jitted = compiled(network, beam=3, jit=True)(source)
    np.testing.assert_array_equal(plain.ids, jitted.ids)
    np.testing.assert_allclose(plain.scores, jitted.scores, atol=1e-4)


def test_static_shapes(network):
    known = tf.function(lambda source: beam_search(network, source, LENGTH), autograph=False)
    concrete = known.get_concrete_function(tf.TensorSpec((3, 5), tf.int32))
    assert concrete.structured_outputs.ids.shape == (3, LENGTH)
    assert concrete.structured_outputs.scores.shape == (3,)
    unknown = compiled(network, beam=3).get_concrete_function()
    assert unknown.structured_outputs.ids.shape[1] == LENGTH


@pytest.mark.slow
def test_mixed_precision():
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        network = Transformer(VOCABULARY, 1, 8, 16, 2, seed=0)
        network.build()
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    ids, scores = compiled(network)(sources(0, 2))
    assert scores.dtype == tf.float32
    assert np.isfinite(scores).all()
    assert ids.shape == (2, LENGTH)
