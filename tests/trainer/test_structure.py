"""The analysis finds shared variables, heads and representation in all kinds of models."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.func_graph import FuncGraph

import mtk
from mtk.sharing import probe
from tests import networks

SIZES = {"left": 3, "right": 4, "size": 1}


def model_of(network, **options):
    return mtk.MultiTaskModel(network, networks.tasks(), **options)


def paths(variables):
    return {v.path.rpartition("/")[0].split("/")[-1] for v in variables}


@pytest.mark.parametrize(
    ("kind", "shared"),
    [
        ("dense", {"trunk", "norm"}),
        ("convolutional", {"conv"}),
        ("embedding", {"words"}),
        ("attention", {"words", "norm", "query", "key", "value", "attention_output"}),
        ("subclassed", {"trunk"}),
        ("cross_stitched", {"tower_0", "tower_1", "stitch"}),
    ],
)
def test_finds_shared_and_heads(kind, shared):
    found = model_of(networks.NETWORKS[kind]()).inspect(networks.batch(kind))
    assert paths(found.shared) == shared
    assert {name: paths(vs) for name, vs in found.heads.items()} == {n: {n} for n in networks.TASKS}


@pytest.mark.parametrize("combiner", [mtk.combiners.StaticWeights, mtk.combiners.PCGrad])
def test_variables_that_no_task_uses_are_reported(combiner):
    data = networks.batch("subclassed")
    model = model_of(networks.NETWORKS["subclassed"](), combiner=combiner())
    assert paths(model.inspect(data).unreached) == {"unused"}
    model.compile("sgd")
    with pytest.warns(UserWarning, match=r"unused/kernel"):
        model.fit(tf.data.Dataset.from_tensors(data), verbose=0)


class Own(keras.metrics.MeanMetricWrapper):
    """A custom metric, of which it is unknown when it creates its variables."""

    def __init__(self):
        super().__init__(keras.losses.mean_absolute_error, name="own")


@pytest.mark.parametrize(
    ("metric", "is_read"),
    [("mae", False), (keras.metrics.R2Score, True), (Own, True)],
    ids=str,
)
def test_evaluation_analyzes_the_graph_only_if_needed(metric, is_read):
    """Losses do not need it, nor do metrics whose variables exist."""
    x = keras.Input((6,))
    model = mtk.MultiTaskModel(keras.Model(x, {"a": layers.Dense(1, name="a")(x)}))
    made = metric if isinstance(metric, str) else metric()
    model.compile("sgd", {"a": "mse"}, metrics={"a": [made]})
    data, labels = np.ones((4, 6), "float32"), {"a": np.zeros((4, 1), "float32")}
    model.evaluate(data, labels, verbose=0)
    assert (model._structure is not None) == is_read


def test_unknown_shared_layers_are_refused_with_static_weights():
    model = model_of(networks.dense(), shared=["nowhere"])
    model.compile("sgd")
    with pytest.raises(ValueError, match="nowhere"):
        model.fit(tf.data.Dataset.from_tensors(networks.batch("dense")), verbose=0)


def test_variables_behind_stopped_gradients_are_not_shared():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="trunk")(inputs)
    stopped = keras.ops.stop_gradient(x)
    network = keras.Model(
        inputs,
        {
            "left": layers.Dense(3, name="left")(x),
            "right": layers.Dense(4, name="right")(stopped),
            "size": layers.Dense(1, name="size")(stopped),
        },
    )
    found = model_of(network).inspect(networks.batch("dense"))
    assert found.shared == []
    assert paths(found.heads["left"]) == {"trunk", "left"}


def test_variable_of_two_of_three_tasks_is_shared():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="trunk")(inputs)
    y = layers.Dense(8, name="middle")(x)
    network = keras.Model(
        inputs,
        {
            "left": layers.Dense(3, name="left")(x),
            "right": layers.Dense(4, name="right")(y),
            "size": layers.Dense(1, name="size")(y),
        },
    )
    found = model_of(network).inspect(networks.batch("dense"))
    assert paths(found.shared) == {"trunk", "middle"}
    assert paths(found.common) == {"trunk"}
    assert paths(found.last_layer()) == {"trunk"}


class Hidden(keras.Model):
    """An inner function reads all variables and returns all predictions."""

    def __init__(self):
        super().__init__()
        self.trunk = layers.Dense(8, name="trunk")
        self.outs = {
            n: layers.Dense(k, name=n) for n, k in zip(networks.TASKS, (3, 4, 1), strict=True)
        }
        self.trunk.build((None, 6))
        for layer in self.outs.values():
            layer.build((None, 8))
        self.built = True

    @tf.function
    def inner(self, inputs):
        x = self.trunk(inputs)
        return {name: layer(x) for name, layer in self.outs.items()}

    def call(self, inputs):
        return self.inner(inputs)


def test_structure_inside_a_function_is_found_by_probing():
    """The graph does not show which variables an output depends on."""
    found = model_of(Hidden()).inspect(networks.batch("dense"))
    assert paths(found.shared) == {"trunk"}
    assert {name: paths(vs) for name, vs in found.heads.items()} == {n: {n} for n in networks.TASKS}


@pytest.mark.parametrize(
    "options",
    [
        {"heads": {name: [name] for name in networks.TASKS}},
        {"shared": ["trunk"]},
        {"shared": ["trunk"], "heads": {"left": ["left"]}},
    ],
)
def test_structure_inside_a_function_may_be_given(options):
    found = model_of(Hidden(), **options).inspect(networks.batch("dense"))
    assert paths(found.shared) == {"trunk"}
    named = {n for n, vs in found.heads.items() if vs} | paths(found.unowned)
    assert named == set(networks.TASKS)


@pytest.mark.slow
def test_heads_of_unknown_owner_get_the_same_updates():
    """They cost a Jacobian row for each task, but get the same gradients."""
    results = []
    for options in ({"heads": {n: [n] for n in networks.TASKS}}, {"shared": ["trunk"]}):
        keras.utils.set_random_seed(0)
        network = Hidden()
        model = model_of(network, combiner=mtk.combiners.PCGrad(), **options)
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        model.inspect(networks.batch("dense"))
        model.fit(tf.data.Dataset.from_tensors(networks.batch("dense")).repeat(3), verbose=0)
        results.append(network.get_weights())
    for one, two in zip(*results, strict=True):
        assert abs(one - two).max() < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared": ["trnk"]}, "no layer named 'trnk'. Did you mean 'trunk'"),
        ({"shared": "trunk"}, "Give a list"),
        ({"heads": {"lft": ["left"]}}, r"unknown tasks \['lft'\]"),
        ({"shared": ["trunk"], "heads": {"left": ["trunk"]}}, "more than one place"),
    ],
)
def test_invalid_names_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model_of(networks.dense(), **options).inspect(networks.batch("dense"))


@pytest.mark.parametrize(
    ("kind", "layers_found"),
    [
        ("dense", ["norm"]),  # the dropout after it has rate zero
        ("convolutional", ["features"]),
        ("subclassed", ["trunk"]),
    ],
)
def test_finds_the_representation(kind, layers_found):
    found = model_of(networks.NETWORKS[kind]()).inspect(networks.batch(kind))
    assert [layer.name for layer, _ in found.representation] == layers_found


class First(layers.Layer):
    def call(self, sequences):
        return sequences[:, 0]


def of_first_token(part=lambda sequences: sequences[:, 0]):
    inputs = keras.Input((6,))
    sequences = layers.Dense(8, "tanh", name="trunk")(layers.Reshape((3, 2))(inputs))
    return keras.Model(inputs, networks.heads(part(sequences)))


def test_heads_may_read_a_part_of_a_layer_output():
    """The heads of a transformer, for example, read its first token."""
    found = model_of(of_first_token()).inspect(networks.batch("dense"))
    assert [layer.name for layer, _ in found.representation] == ["trunk"]


def test_heads_may_read_a_quantized_layer():
    inputs = keras.Input((6,))
    trunk = layers.Dense(16, name="trunk")
    network = keras.Model(inputs, networks.heads(trunk(inputs)))
    trunk.quantize("float8")
    found = model_of(network).inspect(networks.batch("dense"))
    assert [layer.name for layer, _ in found.representation] == ["trunk"]


@pytest.mark.slow
def test_reading_a_part_of_a_layer_output_gives_the_same_gradients():
    x, y, _ = networks.batch("dense")
    found = []
    for part in ((), (First(),)):
        keras.utils.set_random_seed(0)
        network = of_first_token(*part)
        model = model_of(network, combiner=mtk.combiners.MGDA(at="representation"))
        model.compile(keras.optimizers.SGD(0.1))
        model.fit(x, y, shuffle=False, verbose=0)
        found.append([model.last_gramian.numpy(), *network.get_weights()])
    for value, expected in zip(*found, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_dict_inputs_give_no_warning(recwarn):
    inputs = {name: keras.Input((2,), name=name) for name in ("user", "item")}
    x = layers.Dense(3)(layers.Concatenate()(list(inputs.values())))
    network = keras.Model(inputs, {name: layers.Dense(1, name=name)(x) for name in "ab"})
    model = mtk.MultiTaskModel(network, combiner=mtk.combiners.PCGrad())
    model.compile("sgd", loss="mse")
    zeros = {name: tf.zeros((4, 1)) for name in "ab"}
    model.fit({name: tf.zeros((4, 2)) for name in inputs}, zeros, verbose=0)
    assert not [each for each in recwarn if "structure of `inputs`" in str(each.message)]


def test_structure_needs_a_batch():
    with pytest.raises(ValueError, match="has not seen a batch"):
        _ = model_of(networks.dense()).structure


def count_graphs():
    gc.collect()
    return sum(isinstance(one, FuncGraph) for one in gc.get_objects())


def test_analysis_does_not_leak_graphs():
    def analyze():
        model_of(networks.NETWORKS["dense"]()).inspect(networks.batch("dense"))

    analyze()
    before = count_graphs()
    analyze()
    assert count_graphs() <= before


@pytest.mark.parametrize("kind", ["dense", "convolutional", "attention"])
def test_probing_is_skipped_where_the_graph_shows_the_structure(kind, monkeypatch):
    """Side outputs of losses and normalizations do not require probing."""
    monkeypatch.setattr(probe, "run", lambda *_: pytest.fail("tried out"))
    model_of(networks.NETWORKS[kind]()).inspect(networks.batch(kind))


@pytest.mark.parametrize("eagerly", [False, True])
def test_heads_split_from_one_output_are_found_by_probing(eagerly, request):
    """Also with `tf.config.run_functions_eagerly(True)`, as in debugging."""
    tf.config.run_functions_eagerly(eagerly)
    request.addfinalizer(lambda: tf.config.run_functions_eagerly(False))
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="trunk")(inputs)
    both = layers.Concatenate()([layers.Dense(n, name=name)(x) for name, n in SIZES.items()])
    parts = keras.ops.split(both, [3, 7], axis=-1)
    found = model_of(keras.Model(inputs, dict(zip(SIZES, parts, strict=True))))
    structure = found.inspect(networks.batch("dense"))
    assert paths(structure.shared) == {"trunk"}
    assert {name: paths(vs) for name, vs in structure.heads.items()} == {n: {n} for n in SIZES}
