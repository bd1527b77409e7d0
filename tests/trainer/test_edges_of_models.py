"""Unusual dtypes, gradient locations, structures and batches, against Keras or a reference."""

import itertools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import mtk
from mtk import combiners
from mtk.combiners import MGDA, Combined, PCGrad, StaticWeights
from tests.distribution.starting import environment
from tests.quick import some
from tests.trainer import zoo
from tests.trainer.edges_on_replicas import QUICK, SCENARIOS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 4)).astype("float32")
Y = {task: RNG.normal(size=(8, 1)).astype("float32") for task in "abc"}


def labels(number=2):
    return {task: Y[task] for task in "abc"[:number]}


def network(number=2, dtype=None, units=3):
    i = keras.Input((4,), dtype=dtype)
    h = layers.Dense(units, "tanh", name="trunk", dtype=dtype)(i)
    h = layers.Dense(units, "tanh", name="features", dtype=dtype)(h)
    heads = {t: layers.Dense(1, name=f"head_{t}", dtype=dtype)(h) for t in "abc"[:number]}
    return keras.Model(i, heads)


def model_of(net, combiner=None, loss="mse", optimizer=None, compiled=None, **options):
    names = list(net.output) if isinstance(net.output, dict) else "ab"
    tasks = [mtk.Task(task, loss) for task in names]
    model = mtk.MultiTaskModel(net, tasks, combiner, **options)
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), **(compiled or {}))
    return model


def fit(model, x=X, y=None, epochs=3):
    y = labels(len(model.tasks)) if y is None else y
    return model.fit(x, y, batch_size=4, shuffle=False, epochs=epochs, verbose=0).history


# Replicas.


def found_on_replicas(path, names):
    command = [sys.executable, "-m", "tests.trainer.edges_on_replicas", str(path), *names]
    done = subprocess.run(command, env=environment(None, ()), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def quick_results(tmp_path_factory):
    return found_on_replicas(tmp_path_factory.mktemp("edges") / "found.json", QUICK)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_two_replicas_equal_one_device(quick_results, name):
    check_same(**quick_results[name])


@pytest.mark.slow
def test_two_replicas_equal_one_device_in_all_scenarios(tmp_path):
    rest = [name for name in SCENARIOS if name not in QUICK]
    for found in found_on_replicas(tmp_path / "found.json", rest).values():
        check_same(**found)


def check_same(one, two):
    assert "error" not in one, one
    assert "error" not in two, two
    zoo.assert_close(two["weights"], one["weights"], 2e-6)
    assert set(one["logs"]) == set(two["logs"])
    for key, value in one["logs"].items():
        np.testing.assert_allclose(two["logs"][key], value, rtol=1e-5, atol=2e-6, err_msg=key)


# Dtypes.

KINDS = {
    "static": StaticWeights,
    "uncertainty": combiners.UncertaintyWeights,
    "famo": combiners.FAMO,
    "gradnorm": combiners.GradNorm,
    "mgda": MGDA,
    "mgda-ub": lambda: MGDA(at="representation"),
    "last layer": lambda: combiners.IMTLG(at="last_layer"),
    "pcgrad": PCGrad,
    "gradvac": combiners.GradVac,
    "graddrop": combiners.GradDrop,
    "graddrop features": lambda: combiners.GradDrop(at="representation"),
}


@pytest.fixture
def floatx():
    policy, before = keras.config.dtype_policy(), keras.config.floatx()
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(policy)


def trained_in(policy, make, y=None, loss="mse", number=2, **compiled):
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(1)
    net = network(number)
    # The same initial weights for every dtype.
    rng = np.random.default_rng(5)
    net.set_weights([0.3 * rng.normal(size=w.shape) for w in net.get_weights()])
    model = model_of(net, make(), loss, compiled=compiled)
    history = fit(model, y=y)
    assert all(np.isfinite(values).all() for values in history.values())
    return [np.asarray(keras.ops.cast(v, "float64")) for v in net.variables]


@pytest.mark.slow
@pytest.mark.parametrize("name", some(KINDS, ["gradnorm"]))
@pytest.mark.usefixtures("floatx")
def test_double_precision(name):
    found = trained_in("float64", KINDS[name])
    zoo.assert_close(found, trained_in("float32", KINDS[name], run_eagerly=True), 1e-5)


HALF = list(
    itertools.product(
        ["static", "mgda", "mgda-ub", "last layer", "graddrop features"],
        ["bfloat16", "mixed_bfloat16", "mixed_float16"],
    )
)


@pytest.mark.parametrize(("name", "policy"), some(HALF, []))
@pytest.mark.usefixtures("floatx")
def test_half_precision(name, policy):
    # `test_precision.py` covers gradients at the representation.
    found = trained_in(policy, KINDS[name])
    if name != "graddrop features":  # Signs near zero differ.
        zoo.assert_close(found, trained_in("float32", KINDS[name], run_eagerly=True), 0.05)


TYPES = ["float64", "float16", "int64", "uint8", "bool"]
LABELS = list(itertools.product(TYPES, ["float32", "float64", "mixed_bfloat16"], ["mse", "binary"]))
# `test_dtypes_of_class_labels` and `test_label_kinds.py` cover integers.
QUICK_LABELS = [("bool", "float64", "binary")]
LOSSES = {"mse": "mse", "binary": keras.losses.BinaryCrossentropy(from_logits=True)}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "policy", "loss"), some(LABELS, QUICK_LABELS))
@pytest.mark.usefixtures("floatx")
def test_dtypes_of_labels(policy, dtype, loss):
    y = {task: (Y[task] > 0).astype(dtype) for task in "ab"}
    plain = {task: (Y[task] > 0).astype("float32") for task in "ab"}
    found, expected = (trained_in(policy, PCGrad, given, LOSSES[loss]) for given in (y, plain))
    zoo.assert_close(found, expected, 1e-7)


@pytest.mark.parametrize("dtype", some(["int64", "uint8", "int32"], ["uint8"]))
@pytest.mark.usefixtures("floatx")
def test_dtypes_of_class_labels(dtype):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    i = keras.Input((4,), dtype="float64")
    net = keras.Model(i, {t: layers.Dense(3, dtype="float64")(i) for t in "ab"})
    model = model_of(net, loss=loss)
    y = {task: (np.arange(8) % 3).astype(dtype) for task in "ab"}
    assert np.isfinite(fit(model, y=y)["loss"]).all()


MANY = list(itertools.product([13, 40], ["mixed_bfloat16", "mixed_float16"]))


@pytest.mark.parametrize(("number", "policy"), some(MANY, []))
@pytest.mark.usefixtures("floatx")
def test_many_tasks_at_the_representation_in_half_precision(policy, number):
    keras.config.set_dtype_policy(policy)
    i = keras.Input((4,))
    h = layers.Dense(3, "tanh")(i)
    net = keras.Model(i, {f"t{k}": layers.Dense(1)(h) for k in range(number)})
    before = net.layers[1].kernel.numpy()
    y = {f"t{k}": RNG.normal(size=(8, 1)).astype("float32") for k in range(number)}
    model = model_of(net, MGDA(at="representation"))
    logs = fit(model, y=y, epochs=5)
    assert np.isfinite(logs["loss"]).all()
    # In float16 the initial loss scale is too large, and is lowered.
    assert model.skipped_steps.numpy() <= (0 if policy == "mixed_bfloat16" else 5)
    assert np.abs(net.layers[1].kernel.numpy() - before).max() > 0


# Compiling, and data that end early.


def test_compile_refuses_losses_and_metrics_for_given_tasks():
    model = mtk.MultiTaskModel(network(), [mtk.Task(task, "mse") for task in "ab"])
    with pytest.raises(
        ValueError, match=r"does not accept `loss`.*mtk\.Task\(name, loss.*leave out `tasks=`"
    ):
        model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"does not accept `loss_weights` and `metrics`"):
        model.compile("adam", loss_weights={"a": 1.0}, metrics=["mae"])


def generator(number):
    for _ in range(number):
        yield X, labels()


# Options, steps per epoch, and the number of batches that each epoch trains on.
EARLY = [
    ({"steps_per_execution": 2}, 8, [3]),
    ({"run_eagerly": True}, 8, [3, 2, 2]),
    ({}, 3, [3, 0, 2]),
]


@pytest.mark.parametrize(("options", "steps", "trained"), some(EARLY, EARLY[:2]))
def test_generator_that_ends_early(options, steps, trained):
    """As in Keras, the existing batches are trained on, with a warning.

    Keras reads two batches of a generator ahead, and yields these again when it starts anew.
    """
    model = model_of(network(), compiled=options)
    given = {"steps_per_epoch": steps, "epochs": len(trained)}
    with pytest.warns(UserWarning, match="ran out of data"):
        history = model.fit(generator(3), **given, verbose=0).history
    assert np.isfinite(history["loss"]).tolist() == [number > 0 for number in trained]
    assert model.optimizer.iterations.numpy() == sum(trained)


@pytest.mark.parametrize(
    ("options", "error"), [({}, tf.errors.OutOfRangeError), ({"run_eagerly": True}, StopIteration)]
)
def test_train_function_with_an_empty_iterator(options, error):
    model = model_of(network(), compiled=options)
    data = tf.data.Dataset.from_tensors((X, labels()))
    model.make_train_function()
    with pytest.raises(StopIteration):
        model.train_function(iter([]))
    model.fit(data, verbose=0)
    with pytest.raises(StopIteration):
        model.train_function(iter([]))
    with pytest.raises(error):
        model.train_function(iter(data.take(0)))


# Files.

PROGRAM = """
import {first}
import {second}
import keras, numpy as np
model = keras.saving.load_model("model.keras", safe_mode=True)
data = np.load("data.npz")
y = {{task: data[task] for task in "ab"}}
model.fit(data["x"], y, batch_size=4, shuffle=False, verbose=0)
np.savez("after.npz", *model.network.get_weights())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [("mtk", "keras"), ("keras", "mtk")])
def test_saved_model_continues_training_in_another_process(tmp_path, first, second):
    model = model_of(network(), combiners.GradNorm(), optimizer=keras.optimizers.Adam(0.01))
    fit(model)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=X, **labels())
    fit(model, epochs=1)
    program = PROGRAM.format(first=first, second=second)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "after.npz") as after:
        zoo.assert_close(list(after.values()), model.network.get_weights(), 1e-6)


@pytest.mark.slow
def test_weights_are_loaded_into_a_model_that_was_not_trained(tmp_path):
    def fresh():
        return model_of(network(), combiners.GradNorm(), optimizer=keras.optimizers.SGD(0.1))

    first, second = fresh(), fresh()
    fit(first)
    first.save_weights(tmp_path / "model.weights.h5")
    second.load_weights(tmp_path / "model.weights.h5")
    fit(second, epochs=1)
    fit(first, epochs=1)
    zoo.assert_close(second.network.get_weights(), first.network.get_weights(), 1e-6)
    for one, two in zip(first.combiner.variables, second.combiner.variables, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4)


# Combiners and gradient locations.


@pytest.mark.slow
def test_second_model_gets_a_copy_of_the_combiner_without_state():
    combiner = combiners.GradNorm(alpha=0.7)
    eagerly = {"run_eagerly": True}
    first = model_of(network(), combiner, compiled=eagerly)
    fit(first)
    i = keras.Input((4,))
    h = layers.Dense(3, "tanh")(i)
    outputs = {t: layers.Dense(1)(h) for t in "cab"}
    second = model_of(keras.Model(i, outputs), combiner, compiled=eagerly)
    assert second.combiner is not combiner
    assert second.combiner.alpha == 0.7
    assert second.combiner.task_names == ("c", "a", "b")
    fit(second, y=labels(3))
    assert combiner.task_names == ("a", "b")
    assert all(v.shape != (3,) for v in combiner.variables)


@pytest.mark.slow
def test_static_weights_by_name_follow_the_task_order():
    combiner = StaticWeights({"a": 3.0, "b": 1.0})
    first = model_of(network(), combiner)
    i = keras.Input((4,))
    h = layers.Dense(3)(i)
    second = model_of(keras.Model(i, {t: layers.Dense(1)(h) for t in "ba"}), combiner)
    fit(first), fit(second)
    np.testing.assert_allclose(second.last_weights.numpy(), first.last_weights.numpy()[::-1])


def test_arguments_cannot_be_changed_once_the_combiner_is_built():
    model = model_of(network(), MGDA())
    for name, value in (("update_every", 5), ("at", "representation")):
        with pytest.raises(AttributeError, match=rf"`{name}` of MGDA cannot be changed"):
            setattr(model.combiner, name, value)


def test_network_and_combiner_cannot_be_replaced_after_training():
    one, two = (model_of(network(), optimizer=keras.optimizers.Adam(0.1)) for _ in range(2))
    two.network.set_weights(one.network.get_weights())
    two.combiner = StaticWeights({"a": 1.0, "b": 1.0})
    fit(one, epochs=2), fit(two, epochs=1)
    for name, value in (("combiner", PCGrad()), ("network", network()), ("gradients", "loop")):
        with pytest.raises(AttributeError, match=rf"`{name}` of a model that has trained"):
            setattr(two, name, value)
    fit(model_of(two.network, StaticWeights(), optimizer=two.optimizer), epochs=1)
    for found, expected in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def plain_gramian(net, variables, y):
    with tf.GradientTape(persistent=True) as tape:
        found = net(X)
        losses = tf.stack([tf.reduce_mean((found[t] - y[t]) ** 2) for t in y])
    rows = tape.jacobian(
        losses,
        [v.value for v in variables],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
        experimental_use_pfor=False,
    )
    flat = np.concatenate([row.numpy().reshape(len(y), -1) for row in rows], 1)
    return flat @ flat.T


def check_gramian(net, variables, at="parameters", run_eagerly=True, **options):
    """Compares the Gramian of a step with the Jacobian; the analysis runs in a graph anyway."""
    compiled = {"run_eagerly": run_eagerly}
    optimizer = keras.optimizers.SGD(0.0)
    model = model_of(net, MGDA(at=at), optimizer=optimizer, compiled=compiled, **options)
    y = labels(len(model.tasks))
    model.fit(X, y, batch_size=8, shuffle=False, verbose=0)
    expected = plain_gramian(net, variables, y)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(model.last_gramian.numpy(), expected, rtol=1e-4, atol=1e-5 * scale)
    return model.structure


LOCATIONS = {
    "name": lambda net: "trunk",
    "layer": lambda net: net.get_layer("trunk"),
    "list": lambda net: ["trunk", net.get_layer("features")],
}


@pytest.mark.parametrize("location", some(LOCATIONS, ["list"]))
def test_gradient_locations(location):
    net = network()
    chosen = net.get_layer("trunk").trainable_variables
    if location == "list":
        chosen = chosen + net.get_layer("features").trainable_variables
    check_gramian(net, chosen, LOCATIONS[location](net), run_eagerly=False)


class Twins(keras.Model):
    """Two layers with the same name."""

    def __init__(self):
        super().__init__()
        self.one = layers.Dense(3, "tanh", name="twin")
        self.two = layers.Dense(3, "tanh", name="twin")
        self.heads = {t: layers.Dense(1, name=t) for t in "ab"}

    def call(self, x):
        h = self.two(self.one(x))
        return {t: head(h) for t, head in self.heads.items()}


@pytest.mark.slow
def test_two_layers_with_the_same_name():
    for which in ("one", "two"):
        net = Twins()
        net(X)
        layer = getattr(net, which)
        model = mtk.MultiTaskModel(net, [mtk.Task(t, "mse") for t in "ab"], MGDA(at=layer))
        model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
        model.fit(X, labels(), batch_size=8, shuffle=False, verbose=0)
        expected = plain_gramian(net, layer.trainable_variables, labels())
        np.testing.assert_allclose(model.last_gramian.numpy(), expected, rtol=1e-4, atol=1e-6)
    net = Twins()
    net(X)
    model = mtk.MultiTaskModel(net, [mtk.Task(t, "mse") for t in "ab"], MGDA(at="twin"))
    model.compile("sgd")
    with pytest.raises(ValueError, match="2 layers have the name 'twin'. Give the layer itself"):
        model.fit(X, labels(), verbose=0)


def test_shared_and_heads_as_layers_and_variables():
    net = network()
    trunk, features = net.get_layer("trunk"), net.get_layer("features")
    given = {"shared": [trunk, features.kernel]}
    found = check_gramian(net, [*trunk.trainable_variables, features.kernel], **given)
    assert [v.path for v in found.unowned] == [features.bias.path]
    net = network()
    heads = {t: [net.get_layer(f"head_{t}")] for t in "ab"}
    heads["a"].append(net.get_layer("features").bias)
    chosen = [*net.get_layer("trunk").trainable_variables, net.get_layer("features").kernel]
    check_gramian(net, chosen, heads=heads)


# Structures.


def test_last_layer_is_the_one_called_last():
    last, first = layers.Dense(3, "tanh", name="last"), layers.Dense(3, "tanh", name="first")
    last.build((None, 3))
    i = keras.Input((4,))
    h = last(first(i))
    net = keras.Model(i, {t: layers.Dense(1)(h) for t in "ab"})
    check_gramian(net, last.trainable_variables, "last_layer")


def test_last_layer_of_parallel_experts_is_all_of_them():
    i = keras.Input((4,))
    experts = [layers.Dense(3, "tanh", name=f"expert_{k}") for k in range(3)]
    gates = {t: layers.Dense(3, "softmax", name=f"gate_{t}") for t in "ab"}
    below = layers.Dense(4, "tanh", name="below")(i)
    whole = ops.stack([expert(below) for expert in experts], 1)
    outputs = {t: layers.Dense(1)(ops.sum(g(i)[..., None] * whole, 1)) for t, g in gates.items()}
    net = keras.Model(i, outputs)
    found = check_gramian(net, [v for e in experts for v in e.trainable_variables], "last_layer")
    assert {v.path.split("/")[0] for v in found.shared} >= {e.name for e in experts}
    assert all("gate" not in v.path for v in found.shared)


def concatenated(heads):
    whole = ops.concatenate(heads, -1)
    return [whole[:, k : k + 1] for k in range(len(heads))]


def stacked(heads):
    return ops.unstack(ops.stack(heads, 0), axis=0)


def split(heads):
    return ops.split(ops.concatenate(heads, -1), len(heads), axis=-1)


def masked(heads):
    whole = ops.concatenate(heads, -1)
    return [ops.sum(whole * ops.eye(len(heads))[k], -1, keepdims=True) for k in range(len(heads))]


def taken(heads):
    whole = ops.concatenate(heads, -1)
    return [ops.take(whole, [k], axis=-1) for k in range(len(heads))]


@pytest.mark.parametrize("number", some([2, 3], [3]))
@pytest.mark.parametrize(
    # The tests of zero-initialized layers and of adapters cover concatenated heads.
    "join",
    some([concatenated, stacked, split, masked, taken], [masked]),
)
def test_heads_that_are_joined_and_split(join, number):
    i = keras.Input((4,))
    trunk = layers.Dense(3, "tanh", name="trunk")
    h = trunk(i)
    heads = join([layers.Dense(1, name=f"head_{k}")(h) for k in range(number)])
    net = keras.Model(i, dict(zip("abc", heads, strict=False)))
    found = check_gramian(net, trunk.trainable_variables)
    assert [len(own) for own in found.heads.values()] == [2] * number
    check_gramian(net, trunk.trainable_variables, "last_layer")


def test_columns_of_one_layer_are_shared():
    i = keras.Input((4,))
    whole = layers.Dense(2, name="both")(layers.Dense(3, "tanh", name="trunk")(i))
    net = keras.Model(i, {"a": whole[:, :1], "b": whole[:, 1:]})
    check_gramian(net, net.trainable_variables)


class InFunction(layers.Layer):
    """Heads inside a `tf.function` or a `tf.cond`."""

    def __init__(self, way, **kwargs):
        super().__init__(**kwargs)
        self.way = way
        self.heads = [layers.Dense(1, name=f"head_{t}") for t in "ab"]

    def build(self, shape):
        for head in self.heads:
            head.build(shape)

    def call(self, x):
        def run():
            return [head(x) for head in self.heads]

        if self.way == "function":
            return tf.function(run, autograph=False)()
        return tf.cond(tf.reduce_sum(x) > -1e9, run, lambda: [0 * head for head in run()])


@pytest.mark.parametrize("way", some(["function", "cond"], ["cond"]))
def test_heads_in_inner_graphs(way):
    i = keras.Input((4,))
    trunk = layers.Dense(3, "tanh", name="trunk")
    one, two = InFunction(way)(trunk(i))
    net = keras.Model(i, {"a": one, "b": two})
    found = check_gramian(net, trunk.trainable_variables, run_eagerly=False)
    assert [len(own) for own in found.heads.values()] == [2, 2]


def test_layers_initialized_with_zeros():
    i = keras.Input((4,))
    trunk = layers.Dense(3, "tanh", name="trunk")
    h = layers.Dense(3, kernel_initializer="zeros", name="zeros")(trunk(i))
    heads = {t: layers.Dense(1, kernel_initializer="zeros")(h) for t in "ab"}
    # Joined and sliced, so that the analysis has to probe gradients.
    whole = ops.concatenate(list(heads.values()), -1)
    net = keras.Model(i, {"a": whole[:, :1], "b": whole[:, 1:]})
    shared = [*trunk.trainable_variables, *net.get_layer("zeros").trainable_variables]
    found = check_gramian(net, shared)
    assert {v.path for v in found.shared} == {v.path for v in shared}


@pytest.mark.slow
def test_low_rank_adapters_initialized_with_zeros():
    i = keras.Input((4,))
    trunk = layers.Dense(3, "tanh", name="trunk")
    h = trunk(i)
    trunk.enable_lora(2)
    whole = ops.concatenate([layers.Dense(1)(h) for _ in "ab"], -1)
    net = keras.Model(i, {"a": whole[:, :1], "b": whole[:, 1:]})
    found = check_gramian(net, trunk.trainable_variables)
    assert len(found.shared) == len(trunk.trainable_variables) == 3


# A custom combiner.


class Summed(combiners.Combiner):
    reads = "gradients"

    def __init__(self, at="representation", name=None):
        super().__init__(name=name)
        self.at = at

    def call(self, task_gradients, task_losses, present, counts):
        weights = tf.cast(present, tf.float32) / tf.reduce_sum(tf.cast(present, tf.float32))
        return Combined([tf.tensordot(weights, g, 1) for g in task_gradients], weights)


class SummedInParts(Summed):
    def merge_features(self, accumulate, task_losses, present, counts):
        total = accumulate(lambda features, found: [tf.reduce_sum(g, 1) for g in found])
        assert len(total) == 1
        weights = tf.cast(present, tf.float32) / tf.reduce_sum(tf.cast(present, tf.float32))

        def combine(features, found):
            return [tf.tensordot(weights, tf.cast(g, tf.float32), 1) for g in found], weights

        return combiners.base.FeatureMerge(combine, lambda _: weights)


@pytest.mark.slow
def test_custom_combiner_that_merges_gradients():
    def weights_after(combiner, parts=1):
        keras.utils.set_random_seed(1)
        net = network()
        model = model_of(net, combiner, compiled={"micro_batches": parts})
        fit(model)
        return net.get_weights()

    expected = weights_after(StaticWeights({"a": 0.5, "b": 0.5}))
    zoo.assert_close(weights_after(Summed()), expected, 1e-6)
    with pytest.raises(ValueError, match=r"Summed merges.*must define `merge_features`"):
        weights_after(Summed(), 2)
    zoo.assert_close(weights_after(SummedInParts(), 2), expected, 1e-6)
