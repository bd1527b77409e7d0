import keras
import numpy as np
import pytest
from keras import layers

from mtk.models import FiLM, at, conditioned, conditioning, lenet


def twice():
    """A layer that is called twice, an operation without state, and inputs in a dict."""
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    shared = layers.Dense(3, "tanh", name="shared")
    x = layers.BatchNormalization(name="norm")(shared(first) + shared(second))
    outputs = {name: layers.Dense(1, name=name)(x) for name in ("b", "a")}
    return keras.Model({"first": first, "second": second}, outputs)


def images():
    return lenet((10, 10, 1), ["b", "a"], channels=(4, 4), kernel=3, units=6, seed=0)


def words():
    """The recurrent layer needs the padding mask, which FiLM has to pass on."""
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 3, mask_zero=True, name="words")(inputs)
    x = layers.GRU(3, name="recurrent")(x)
    return keras.Model(inputs, {name: layers.Dense(1, name=name)(x) for name in ("b", "a")})


NETWORKS = {
    "twice": (twice, ("shared",), lambda rng: {n: rng.normal(size=(6, 4)) for n in FIRST}),
    "images": (images, ("convolution_1", "representation"), lambda rng: rng.normal(size=SHAPE)),
    "words": (words, ("words",), lambda rng: rng.integers(0, 7, (6, 5))),
}
FIRST, SHAPE = ("first", "second"), (6, 10, 10, 1)


@pytest.fixture(params=NETWORKS)
def case(request):
    """A network, the names of the layers to condition, and inputs."""
    make, names, inputs = NETWORKS[request.param]
    rng = np.random.default_rng(0)
    return make(), names, keras.tree.map_structure(np.float32, inputs(rng))


def weights(rows):
    return np.random.default_rng(1).dirichlet([1.0, 1.0], rows).astype("float32")


def perturbed(network):
    """Adds noise to the weights, as if the network had been trained."""
    rng = np.random.default_rng(2)
    network.set_weights([w + rng.normal(size=w.shape) / 4 for w in network.get_weights()])
    return network


def assert_equal(one, two, **options):
    assert set(one) == set(two) == {"a", "b"}
    for name in one:
        np.testing.assert_allclose(one[name], two[name], **options)


def test_conditioned_network_starts_equal_and_shares_no_variables(case):
    network, names, inputs = case
    found = conditioned(perturbed(network), names, hidden=4)
    assert_equal(found(conditioning.with_weights(inputs, weights(6))), network(inputs), rtol=1e-6)
    own = {id(v) for v in network.variables}
    assert not own & {id(v) for v in found.variables}


def test_weights_are_per_example_and_scale_invariant(case):
    network, names, inputs = case
    found, rows = perturbed(conditioned(network, names, hidden=4)), weights(6)
    together = found(conditioning.with_weights(inputs, rows))
    assert_equal(found(conditioning.with_weights(inputs, 7 * rows)), together, rtol=1e-4)
    for index in (0, 3):
        example = keras.tree.map_structure(lambda x, i=index: x[i : i + 1], inputs)
        alone = found(conditioning.with_weights(example, rows[index : index + 1]))
        same = {name: output[index : index + 1] for name, output in together.items()}
        assert_equal(alone, same, rtol=1e-4, atol=1e-6)
    other = found(conditioning.with_weights(inputs, rows[::-1]))
    assert np.abs(other["a"] - together["a"]).max() > 1e-3


def test_network_at_a_preference_has_only_keras_layers(case, tmp_path):
    network, names, inputs = case
    found = perturbed(conditioned(network, names, hidden=4))
    fixed = at(found, {"a": 1, "b": 3})
    rows = np.tile(np.float32([[0.75, 0.25]]), (6, 1))
    assert conditioning.layer_of(found).task_names == ["b", "a"]
    expected = found(conditioning.with_weights(inputs, rows))
    assert_equal(fixed(inputs), expected, rtol=1e-5, atol=1e-6)
    shapes = [keras.tree.map_structure(lambda x: x.shape, n.input) for n in (fixed, network)]
    assert shapes[0] == shapes[1]
    assert all(type(layer).__module__.startswith("keras.") for layer in fixed.layers)
    for name, model, read in (
        ("fixed", fixed, inputs),
        ("conditioned", found, conditioning.with_weights(inputs, rows)),
    ):
        model.save(tmp_path / f"{name}.keras")
        loaded = keras.models.load_model(tmp_path / f"{name}.keras")
        assert_equal(loaded(read), expected, rtol=1e-5, atol=1e-6)
    # The fixed network has its own weights.
    found.set_weights([w + 1 for w in found.get_weights()])
    assert_equal(fixed(inputs), expected, rtol=1e-5, atol=1e-6)


def test_seed_determines_initial_weights():
    one, same, other = (conditioned(images(), ["convolution_1"], seed=s) for s in (1, 1, 2))
    kernels = [each.get_layer("convolution_1_film").to_hidden.kernel for each in (one, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.allclose(kernels[0], kernels[2])


def test_film_keeps_float16_features():
    film = FiLM(4, dtype="mixed_float16")
    found = film(np.ones((2, 3, 5), "float16"), np.ones((2, 2), "float32"))
    assert found.dtype == "float16"
    np.testing.assert_array_equal(found, np.ones((2, 3, 5)))


def listed():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])


def with_states():
    inputs = keras.Input((4, 3))
    x, _ = layers.GRU(3, return_state=True, name="gru")(inputs)
    return keras.Model(inputs, {"a": layers.Dense(1)(x)})


def channels_first():
    inputs = keras.Input((1, 8, 8))
    x = layers.Conv2D(2, 3, data_format="channels_first", name="conv")(inputs)
    return keras.Model(inputs, {"a": layers.Dense(1)(layers.Flatten()(x))})


ERRORS = {
    "unknown layer": (lambda: conditioned(images(), ["convolution_3"]), "Did you mean"),
    "no layer": (lambda: conditioned(images(), []), "one or more layers"),
    "no tasks": (lambda: conditioned(listed(), ["dense"]), "Give `task_names`"),
    "twice": (
        lambda: conditioned(conditioned(images(), ["relu_1"]), ["relu_2"]),
        "already has an input 'task_weights'",
    ),
    "several outputs": (lambda: conditioned(with_states(), ["gru"]), "has several"),
    "channels first": (lambda: conditioned(channels_first(), ["conv"]), "channels_last"),
    "unknown task": (
        lambda: conditioned(images(), ["relu_1"], preference={"a": 1, "c": 1}),
        r"given for \['a', 'c'\], but the tasks are \['a', 'b'\]",
    ),
    "plain network": (lambda: at(images(), [1, 1]), "mtk.models.conditioned"),
    "negative": (lambda: at(conditioned(images(), ["relu_1"]), [2, -1]), "non-negative"),
    "all zero": (lambda: at(conditioned(images(), ["relu_1"]), [0, 0]), "not all zero"),
    "too many": (lambda: at(conditioned(images(), ["relu_1"]), [1, 1, 1]), "3 numbers for 2"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_invalid_arguments(name):
    call, message = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_subclassed_models_are_refused():
    class Own(keras.Model):
        pass

    with pytest.raises(TypeError, match="Only functional models"):
        conditioned(Own(), ["dense"])
