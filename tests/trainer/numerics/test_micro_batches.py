"""A batch in micro-batches gives the step of the whole batch, whatever the combiner needs."""

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


def shared(seed=0):
    """Uneven masks; `left` has labels in the last third of the batch only."""
    x, y, mask = networks.batch("attention", size=SIZE, seed=seed)
    mask["left"] = tf.constant([0.0] * 24 + [1.0, 0.0, 1.0, 1.0] * 3)
    return x, y, mask


def own(seed=0):
    """A share for each task, with an input of its own."""
    data = {}
    for number, name in enumerate(networks.TASKS):
        x, y, _ = networks.batch("attention", size=SIZE, seed=10 * seed + number)
        data[name] = (x, y[name])
    return data


def trained(network, combiner, data, number, way="auto", **compiled):
    """Takes three steps and returns all that they have left."""
    keras.utils.set_random_seed(3)
    model = mtk.MultiTaskModel(network(), networks.tasks(), combiner, gradients=way)
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
    """Those that go another way through a step run always."""
    for case in CASES:
        marks = () if case.name in QUICK else (pytest.mark.slow,)
        yield pytest.param(case.name, marks=marks, id=case.name)


@pytest.mark.parametrize("name", every_combiner())
def test_step_of_every_combiner_is_that_of_the_whole_batch(name):
    make = BY_NAME[name].make
    whole = trained(networks.embedding, make(), shared, 1, run_eagerly=True)
    assert_same(trained(networks.embedding, make(), shared, 3), whole)


@pytest.mark.parametrize("way", some(["loop", "vectorized"], []))
def test_every_way_to_per_task_gradients(way):
    whole, parts = (trained(networks.attention, combiners.MGDA(), shared, n, way) for n in (1, 4))
    assert_same(parts, whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["famo", pytest.param("gradnorm", marks=pytest.mark.slow)])
def test_tasks_with_inputs_of_their_own(name):
    make = COMBINERS[name]
    whole = trained(networks.embedding, make(), own, 1, run_eagerly=True)
    assert_same(trained(networks.embedding, make(), own, 3), whole)


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
def test_with_xla_and_without_a_graph(name, options):
    make = COMBINERS[name]
    whole = trained(networks.attention, make(), shared, 1)
    assert_same(trained(networks.attention, make(), shared, 3, **options), whole)


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

    whole, parts = (trained(network, COMBINERS[name](), shared, n) for n in (1, 3))
    assert_same(parts, whole)


@pytest.mark.slow
def test_measured_steps_of_static_weights():
    found = []
    for number in (1, 3):
        keras.utils.set_random_seed(3)
        model = mtk.MultiTaskModel(networks.attention(), networks.tasks())
        model.compile(keras.optimizers.SGD(0.1), micro_batches=number)
        model.gradient_schedule.diagnostics_every = 2
        model.fit(tf.data.Dataset.from_tensors(shared()).repeat(2), verbose=0, shuffle=False)
        found.append({"gramian": model.last_gramian.numpy()})
    assert np.abs(found[0]["gramian"]).min() > 0
    assert_same(*found)


@pytest.mark.slow
def test_statistics_take_one_update_the_mean_and_dropout_moves_on():
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
    # Three masks a step. The second pass had the same: at a rate of zero FAMO sees no change.
    np.testing.assert_array_equal(seed.numpy() - before, [0, 3])
    np.testing.assert_array_equal(model.combiner.logits.numpy(), [0, 0, 0])


def test_micro_batches_draw_masks_of_their_own():
    """The same four examples thrice: without dropout all micro-batches have one loss."""
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


def test_a_batch_that_does_not_divide():
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


@pytest.mark.parametrize("number", [0, -2])
def test_number_of_micro_batches_is_checked(number):
    model = mtk.MultiTaskModel(networks.dense(), networks.tasks())
    with pytest.raises(
        ValueError, match=f"`micro_batches` must be an integer.*micro_batches={number}"
    ):
        model.compile("sgd", micro_batches=number)


def test_a_loaded_model_keeps_its_micro_batches(tmp_path):
    model = mtk.MultiTaskModel(networks.dense(), networks.tasks())
    model.compile("sgd", micro_batches=3, on_nonfinite="skip")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.compile_args.micro_batches, loaded.compile_args.on_nonfinite) == (3, "skip")


def test_logs_of_every_reduction_are_those_of_the_whole_batch():
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
