import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk.models import Transformer

VOCABULARY = 20
PUBLISHED = {3: 120_375_296, 6: 142_444_544, 9: 164_513_792, 12: 186_583_040}


def _small(**changes) -> Transformer:
    network = Transformer(
        **{
            "vocabulary_size": VOCABULARY,
            "num_layers": 2,
            "width": 8,
            "feed_forward_width": 16,
            "num_heads": 2,
            "dropout": 0.0,
            "seed": 0,
            **changes,
        }
    )
    network.build()
    return network


def _tokens(seed: int, shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, VOCABULARY, shape).astype("int32")


def _count(layers: int, vocabulary: int, width: int, hidden: int) -> int:
    attention = 4 * (width * width + width)
    feed_forward = width * hidden + hidden + hidden * width + width
    norm = 2 * width
    encoder = attention + feed_forward + 2 * norm
    decoder = 2 * attention + feed_forward + 3 * norm
    return 3 * vocabulary * width + layers * (encoder + decoder) + 2 * norm


@pytest.mark.parametrize("layers", [1, 2])
def test_network_has_the_parameters_of_the_formula(layers):
    assert _small(num_layers=layers).count_params() == _count(layers, VOCABULARY, 8, 16)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layers", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 9, 12))]
)
def test_published_networks_have_the_published_parameter_counts(layers):
    network = Transformer(num_layers=layers)
    network.build()
    assert network.count_params() == PUBLISHED[layers]


def test_builds_at_the_first_call():
    network = Transformer(VOCABULARY, 1, 8, 16, 2)
    logits = network({"source": _tokens(0, (3, 5)), "target_in": _tokens(1, (3, 4))})
    assert logits.shape == (3, 4, VOCABULARY)
    assert logits.dtype == tf.float32
    assert network.count_params() == _count(1, VOCABULARY, 8, 16)


def test_builds_at_a_symbolic_call_with_unique_paths():
    network = Transformer(VOCABULARY, 2, 8, 16, 2)
    tokens = {name: keras.Input((5,), dtype="int32") for name in ("source", "target_in")}
    assert network(tokens).shape == (None, 5, VOCABULARY)
    paths = [variable.path for variable in network.variables]
    assert len(set(paths)) == len(paths)
    assert any(path.endswith("/decoder_2/memory_attention/query/kernel") for path in paths)


def test_decoder_is_causal():
    network, source, target = _small(), _tokens(0, (1, 5)), _tokens(1, (1, 6))
    before = network({"source": source, "target_in": target}).numpy()
    changed = target.copy()
    changed[0, 3] = changed[0, 3] % (VOCABULARY - 1) + 1
    differs = np.abs(network({"source": source, "target_in": changed}).numpy() - before) > 1e-6
    np.testing.assert_array_equal(differs.any(axis=-1)[0], [0, 0, 0, 1, 1, 1])


def test_padding_does_not_change_logits():
    network, source, target = _small(), _tokens(0, (2, 5)), _tokens(1, (2, 4))
    plain = network({"source": source, "target_in": target})
    padded = network(
        {
            "source": np.pad(source, ((0, 0), (0, 3))),
            "target_in": np.pad(target, ((0, 0), (0, 2))),
        }
    )
    np.testing.assert_allclose(padded[:, :4], plain, atol=1e-5)


def test_logits_depend_on_every_source_token_and_on_their_order():
    network, source, target = _small(), _tokens(0, (1, 5)), _tokens(1, (1, 3))
    plain = network({"source": source, "target_in": target}).numpy()
    for position in range(5):
        changed = source.copy()
        changed[0, position] = changed[0, position] % (VOCABULARY - 1) + 1
        assert not np.allclose(network({"source": changed, "target_in": target}), plain)
    assert not np.allclose(network({"source": source[:, ::-1], "target_in": target}), plain)


def test_empty_source_gives_finite_logits():
    network = _small()
    inputs = {"source": np.zeros((1, 4), "int32"), "target_in": _tokens(1, (1, 3))}
    assert np.isfinite(network(inputs)).all()


def test_layer_norm_precedes_each_sub_layer():
    """If all sub-layers output zero, the logits are those of the normalized embeddings."""
    network, target = _small(), _tokens(1, (2, 4))
    for block in network.decoder:
        for dense in (
            block.attention.output_projection,
            block.memory_attention.output_projection,
            block.output_layer,
        ):
            dense.kernel.assign(np.zeros(dense.kernel.shape))
    embedded = network._embed(network.target_embedding, tf.constant(target)).numpy()
    centred = embedded - embedded.mean(-1, keepdims=True)
    normed = centred / np.sqrt(embedded.var(-1, keepdims=True) + 1e-6)
    expected = normed @ network.output_projection.kernel.numpy()
    found = network({"source": _tokens(0, (2, 3)), "target_in": target})
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_embeddings_and_projection_are_not_tied_and_all_are_trained():
    network = _small()
    with tf.GradientTape() as tape:
        logits = network({"source": _tokens(0, (2, 5)), "target_in": _tokens(1, (2, 4))})
        loss = tf.reduce_mean(logits**2)
    gradients = tape.gradient(loss, network.trainable_variables)
    assert all(gradient is not None for gradient in gradients)
    paths = [v.path for v in network.trainable_variables if VOCABULARY in v.shape]
    assert len(set(paths)) == 3


def test_dropout_is_seeded_and_only_active_in_training():
    inputs = {"source": _tokens(0, (2, 5)), "target_in": _tokens(1, (2, 4))}
    one, same = _small(dropout=0.5), _small(dropout=0.5)
    trained = one(inputs, training=True)
    np.testing.assert_allclose(trained, same(inputs, training=True), atol=1e-6)
    assert not np.allclose(trained, one(inputs, training=True))
    np.testing.assert_array_equal(one(inputs), one(inputs))


@pytest.mark.slow
def test_save_and_load(tmp_path):
    network = _small(seed=3)
    inputs = {"source": _tokens(0, (2, 5)), "target_in": _tokens(1, (2, 4))}
    expected = network(inputs)
    network.save(tmp_path / "network.keras")
    restored = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(restored(inputs), expected, atol=1e-6)
    assert restored.get_config() == network.get_config()


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_in_mixed_precision(policy):
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        network = _small()
        logits = network({"source": _tokens(0, (2, 5)), "target_in": _tokens(1, (2, 4))})
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert logits.dtype == tf.float32
    assert np.isfinite(logits).all()
    expected = _small()({"source": _tokens(0, (2, 5)), "target_in": _tokens(1, (2, 4))})
    np.testing.assert_allclose(logits, expected, atol=0.1)


@pytest.mark.parametrize(("width", "heads"), [(10, 4), (9, 3)])
def test_width_must_be_a_multiple_of_num_heads(width, heads):
    with pytest.raises(ValueError, match="multiple of `num_heads`"):
        Transformer(VOCABULARY, width=width, num_heads=heads)
