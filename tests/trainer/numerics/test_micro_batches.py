"""Training with micro-batches equals training on whole batches, for every combiner."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk import combiners
from tests import networks
from tests.combiners.cases import BY_NAME, CASES
from tests.quick import some

SIZE = 36
QUICK = {"graddrop"}
COMBINERS = {
    "static": combiners.StaticWeights,
    "famo": combiners.FAMO,
    "gradnorm": combiners.GradNorm,
    "mgda": combiners.MGDA,
    "mgda-ub": lambda: combiners.MGDA(at="representation", update_every=2),
    "graddrop features": lambda: combiners.GradDrop(at="representation"),
}


def shared_input(seed=0):
    """A batch with uneven masks; `left` has labels only in the last third."""
    x, y, mask = networks.batch("attention", size=SIZE, seed=seed)
    mask["left"] = tf.constant([0.0] * 24 + [1.0, 0.0, 1.0, 1.0] * 3)
    return x, y, mask


def separate_inputs(seed=0):
    """A batch with separate inputs for each task."""
    data = {}
    for number, name in enumerate(networks.TASKS):
        x, y, _ = networks.batch("attention", size=SIZE, seed=10 * seed + number)
        data[name] = (x, y[name])
    return data


def trained(network, combiner, data, number, strategy="auto", **compiled):
    """Takes three steps; returns variables, logs, and the last weights and Gramian."""
    keras.utils.set_random_seed(3)
    model = mtk.MultiTaskModel(network(), networks.tasks(), combiner, gradients=strategy)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        weight_decay=1e-3,
        clip_norm=5.0,
        micro_batches=number,
        **compiled,
    )
    logs = {}
    for seed in range(3):
        batch = tf.data.Dataset.from_tensors(data(seed))
        logs = model.fit(batch, verbose=0, shuffle=False).history
    found = {v.path: v.numpy() for v in (*model.network.weights, *model.combiner.variables)}
    found |= {name: np.array(values) for name, values in logs.items()}
    return found | {"last": model.last_weights.numpy(), "gramian": model.last_gramian.numpy()}


def assert_same(found, expected):
    for one, two in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def every_combiner():
    """By default only those in `QUICK` run."""
    for case in CASES:
        marks = () if case.name in QUICK else (pytest.mark.slow,)
        yield pytest.param(case.name, marks=marks, id=case.name)


@pytest.mark.parametrize("name", every_combiner())
def test_every_combiner_equals_whole_batch(name):
    make = BY_NAME[name].make
    whole = trained(networks.embedding, make(), shared_input, 1, run_eagerly=True)
    assert_same(trained(networks.embedding, make(), shared_input, 3), whole)


@pytest.mark.parametrize("strategy", some(["loop", "vectorized"], []))
def test_every_gradient_strategy(strategy):
    whole, parts = (
        trained(networks.attention, combiners.MGDA(), shared_input, n, strategy) for n in (1, 4)
    )
    assert_same(parts, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["famo", pytest.param("gradnorm", marks=pytest.mark.slow)])
def test_separate_inputs(name):
    make = COMBINERS[name]
    whole = trained(networks.embedding, make(), separate_inputs, 1, run_eagerly=True)
    assert_same(trained(networks.embedding, make(), separate_inputs, 3), whole)


@pytest.mark.slow
def test_mixed_batches_with_a_task_absent_from_a_micro_batch():
    def network():
        inputs = keras.Input((6,))
        hidden = layers.Dense(8, activation="tanh")(inputs)
        return keras.Model(inputs, {name: layers.Dense(3)(hidden) for name in networks.TASKS})

    def mixed(seed):
        x, y, _ = networks.batch("dense", size=SIZE, seed=seed)
        return x, tf.cast(y["left"], tf.float32), tf.constant([0] * 12 + [1, 2] * 12)

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = []
    for number in (1, 3):
        keras.utils.set_random_seed(3)
        tasks = [mtk.Task(name, loss, ["accuracy"]) for name in networks.TASKS]
        model = mtk.MultiTaskModel(network(), tasks, combiners.ProportionalSampling())
        model.compile(keras.optimizers.SGD(0.1), micro_batches=number, run_eagerly=number == 1)
        for seed in range(3):
            model.fit(tf.data.Dataset.from_tensors(mixed(seed)), verbose=0, shuffle=False)
        found.append({v.path: v.numpy() for v in model.network.weights})
    assert_same(*found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [pytest.param({"jit_compile": True}, marks=pytest.mark.slow), {"run_eagerly": True}],
)
@pytest.mark.parametrize("name", ["famo", "mgda", "graddrop features"])
def test_xla_and_eager(name, options):
    make = COMBINERS[name]
    whole = trained(networks.attention, make(), shared_input, 1)
    assert_same(trained(networks.attention, make(), shared_input, 3, **options), whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", some(["mgda-ub", "mgda", "graddrop features"], ["graddrop features"])
)
def test_regularizers_and_added_losses_count_once(name):
    class Active(layers.Layer):
        def call(self, x):
            self.add_loss(0.3 * tf.reduce_mean(tf.square(x)))
            return x

    def network():
        inputs = keras.Input((5,), dtype="int32")
        x = layers.Embedding(11, 6, embeddings_regularizer="l2", name="words")(inputs)
        x = Active(name="active")(layers.GlobalAveragePooling1D(name="features")(x))
        return keras.Model(inputs, networks.heads(x))

    whole, parts = (trained(network, COMBINERS[name](), shared_input, n) for n in (1, 3))
    assert_same(parts, whole)


@pytest.mark.slow
def test_diagnostic_gramian_of_static_weights():
    found = []
    for number in (1, 3):
        keras.utils.set_random_seed(3)
        model = mtk.MultiTaskModel(networks.attention(), networks.tasks())
        model.compile(keras.optimizers.SGD(0.1), micro_batches=number)
        model.gradient_schedule.diagnostics_every = 2
        model.fit(tf.data.Dataset.from_tensors(shared_input()).repeat(2), verbose=0, shuffle=False)
        found.append({"gramian": model.last_gramian.numpy()})
    assert np.abs(found[0]["gramian"]).min() > 0
    assert_same(*found)


@pytest.mark.slow
def test_batch_norm_is_updated_once_and_dropout_per_micro_batch():
    network, (x, y, mask) = networks.dense(dropout=0.5), networks.batch("dense", size=12)
    norm, trunk = network.get_layer("norm"), network.get_layer("trunk")
    (seed,) = [v for v in network.non_trainable_variables if "seed" in v.path]
    before, features = seed.numpy(), trunk(x).numpy()
    model = mtk.MultiTaskModel(network, networks.tasks(), combiners.FAMO(decay=0.0))
    model.compile(keras.optimizers.SGD(0.0), micro_batches=3)
    model.fit(tf.data.Dataset.from_tensors((x, y, mask)), verbose=0, shuffle=False)
    variances = [features[i : i + 4].var(axis=0) for i in (0, 4, 8)]
    np.testing.assert_allclose(norm.moving_mean, 0.01 * features.mean(0), atol=1e-6)
    np.testing.assert_allclose(
        norm.moving_variance, 0.99 + 0.01 * np.mean(variances, axis=0), atol=1e-6
    )
    # Three masks per step. The second pass reuses them: at rate zero FAMO sees no change.
    np.testing.assert_array_equal(seed.numpy() - before, [0, 3])
    np.testing.assert_array_equal(model.combiner.logits.numpy(), [0, 0, 0])


def test_each_micro_batch_draws_a_dropout_mask():
    """The same four examples three times: without dropout all micro-batches would be equal."""
    x, y, _ = networks.batch("dense", size=4)
    data = tf.nest.map_structure(lambda t: tf.concat([t] * 3, 0), (x, y))
    seen = []

    class Watch(layers.Layer):
        def call(self, x):
            tf.py_function(lambda value: seen.append(value.numpy()), [x], [])
            return x

    inputs = keras.Input((6,))
    hidden = Watch()(layers.Dropout(0.5)(layers.Dense(16)(inputs)))
    model = mtk.MultiTaskModel(keras.Model(inputs, networks.heads(hidden)), networks.tasks())
    model.compile(keras.optimizers.SGD(0.1), micro_batches=3, run_eagerly=True)
    model.fit(tf.data.Dataset.from_tensors(data), verbose=0, shuffle=False)
    parts = [value for value in seen if len(value) == 4][-3:]
    assert all(np.abs(parts[i] - parts[j]).max() > 0.1 for i, j in ((0, 1), (0, 2), (1, 2)))


def test_indivisible_batch_is_refused():
    model = mtk.MultiTaskModel(networks.dense(), networks.tasks())
    model.compile("sgd", micro_batches=5)
    batch = networks.batch("dense", size=12)
    known = tf.data.Dataset.from_tensors(batch)
    with pytest.raises(ValueError, match="12 examples cannot be split into 5 equal parts"):
        model.check(known)
    with pytest.raises(ValueError, match="12 examples cannot be split into 5 equal parts"):
        model.fit(known, verbose=0)
    before = model.network.get_weights()
    unknown = tf.data.Dataset.from_tensor_slices(batch).batch(12)
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot be split into 5 equal parts"):
        model.fit(unknown, verbose=0)
    for one, two in zip(model.network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("number", [0, -2, 2.5, "4"])
def test_number_of_micro_batches_is_checked(number):
    model = mtk.MultiTaskModel(networks.dense(), networks.tasks())
    with pytest.raises(
        ValueError, match=f"`micro_batches` must be an integer.*micro_batches={number!r}"
    ):
        model.compile("sgd", micro_batches=number)


def test_save_and_load_keeps_micro_batches_and_on_nonfinite(tmp_path):
    model = mtk.MultiTaskModel(networks.dense(), networks.tasks())
    model.compile("sgd", micro_batches=3, on_nonfinite="skip")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.compile_args.micro_batches, loaded.compile_args.on_nonfinite) == (3, "skip")


def test_logs_of_every_reduction_equal_whole_batch():
    rng, found = np.random.default_rng(0), []
    x, y = (rng.normal(size=(12, n)).astype("float32") for n in (3, 1))
    weights = rng.uniform(0.1, 2.0, 12)
    for number in (1, 3):
        keras.utils.set_random_seed(1)
        i = keras.Input((3,))
        model = mtk.MultiTaskModel(keras.Model(i, {task: layers.Dense(1)(i) for task in "ab"}))
        losses = [keras.losses.MeanSquaredError(r) for r in ("sum", "mean_with_sample_weight")]
        model.compile("sgd", dict(zip("ab", losses, strict=True)), micro_batches=number)
        given = {"sample_weight": dict.fromkeys("ab", weights), "shuffle": False}
        found.append(model.fit(x, dict.fromkeys("ab", y), batch_size=6, verbose=0, **given).history)
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, rtol=1e-5, err_msg=name)
