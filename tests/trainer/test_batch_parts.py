"""Combiners that compare parts of a batch, against gradients of each part on its own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import combiners
from mtk.trainer import parts
from mtk.trainer.batch import SubBatch
from tests import networks
from tests.quick import some

RATE = 0.1
SIZE = 12
LOSSES = {
    "left": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none"),
    "right": keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="none"),
    "size": keras.losses.MeanSquaredError(reduction="none"),
}


def model_of(combiner, network=networks.convolutional, tasks=None, **options):
    keras.utils.set_random_seed(3)
    compiled = {key: options.pop(key) for key in ("micro_batches", "run_eagerly") if key in options}
    model = mtk.MultiTaskModel(network(), tasks or networks.tasks(), combiner, **options)
    model.compile(keras.optimizers.SGD(RATE), **compiled)
    return model


def fit(model, batch, steps=1):
    return model.fit(tf.data.Dataset.from_tensors(batch).repeat(steps), verbose=0, shuffle=False)


def values(model):
    return [v.numpy() for v in model.network.trainable_variables]


def whole_labels(batch):
    x, y, _ = batch
    return x, {**y, "size": tf.where(tf.math.is_nan(y["size"]), 0.0, y["size"])}


def gradients_of_parts(network, x, y, number):
    """Returns the gradients of each part and task: P lists of K lists of arrays."""
    found = []
    for part in range(number):
        with tf.GradientTape(persistent=True) as tape:
            outputs = network(x[part::number], training=True)
            losses = [
                tf.reduce_mean(LOSSES[name](y[name][part::number], outputs[name]))
                for name in networks.TASKS
            ]
        variables = [v.value for v in network.trainable_variables]
        zero = tf.UnconnectedGradients.ZERO
        found.append(
            [
                [g.numpy() for g in tape.gradient(one, variables, unconnected_gradients=zero)]
                for one in losses
            ]
        )
    return found


def shared_rows(network, found):
    """Returns the flat task gradients `(P, K, n)` of the shared variables."""
    at = [i for i, v in enumerate(network.trainable_variables) if v.path.startswith("conv")]
    return np.array(
        [[np.concatenate([each[i].ravel() for i in at]) for each in part] for part in found]
    )


STRATEGIES = ["unrolled", "loop", "vectorized"]


@pytest.mark.parametrize("strategy", some(STRATEGIES, ["unrolled"]))
def test_modo_step_equals_its_definition_from_gradients_of_parts(strategy):
    model = model_of(combiners.MoDo(2.0), gradients=strategy)
    x, y = whole_labels(networks.batch("convolutional", SIZE))
    before, found = values(model), gradients_of_parts(model.network, x, y, 3)
    rows = shared_rows(model.network, found).astype(float)
    slope = rows[0] @ (rows[1].T @ np.full(3, 1 / 3)) + 0.1 / 3
    weights = np.full(3, 1 / 3) - 2.0 * slope
    low = np.sort(weights)[::-1]
    threshold = max((low[: k + 1].sum() - 1) / (k + 1) for k in range(3))
    weights = np.maximum(weights - threshold, 0)
    fit(model, (x, y))
    np.testing.assert_allclose(model.last_weights, weights, atol=1e-5)
    for i, (variable, old) in enumerate(
        zip(model.network.trainable_variables, before, strict=True)
    ):
        if variable.path.startswith("conv"):
            expected = sum(w * g[i] for w, g in zip(weights, found[2], strict=True))
        else:  # A head: its own gradient on the whole batch, divided by K.
            expected = sum(g[i] for part in found for g in part) / 9
        np.testing.assert_allclose(variable.numpy(), old - RATE * expected, atol=1e-5)
    mean = rows.mean(0)
    np.testing.assert_allclose(model.last_gramian, mean @ mean.T, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", some(["AutoLambda", "MOML"], ["AutoLambda"]))
def test_halves_with_equal_weights_equal_static_weights(name):
    """At a learning rate of zero the weights stay equal, as with static weights."""
    batch = whole_labels(networks.batch("convolutional", SIZE))
    halves = model_of(getattr(combiners, name)(0.0))
    static = model_of(combiners.StaticWeights(), run_eagerly=True)
    logs = [fit(model, batch, 2).history for model in (halves, static)]
    for one, other in zip(values(halves), values(static), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    for key, value in logs[1].items():
        np.testing.assert_allclose(logs[0][key], value, rtol=1e-5, err_msg=key)


@pytest.mark.slow
def test_micro_batches_of_parts():
    batch = networks.batch("convolutional", SIZE)
    one, two = model_of(combiners.MoDo(1.0)), model_of(combiners.MoDo(1.0), micro_batches=2)
    for model in (one, two):
        fit(model, batch, 3)
    for whole, divided in zip(values(one), values(two), strict=True):
        np.testing.assert_allclose(divided, whole, atol=1e-6)


@pytest.mark.slow
def test_a_task_with_labels_in_some_parts_only():
    """Its labels train its head; they train the trunk only if they are in the third part."""
    x, y = whole_labels(networks.batch("convolutional", SIZE))
    for part, has_weight in ((0, False), (2, True)):
        mask = {"left": tf.cast(tf.range(SIZE) % 3 == part, tf.float32)}
        model = model_of(combiners.MoDo(0.0), run_eagerly=True)
        head = model.network.get_layer("left").kernel.numpy()
        fit(model, (x, y, mask))
        assert (model.last_weights.numpy()[0] > 0) == has_weight
        assert model.last_weights.numpy().sum() == pytest.approx(1)
        assert np.abs(model.network.get_layer("left").kernel.numpy() - head).max() > 1e-4


@pytest.mark.slow
def test_sums_of_losses_keep_their_scale():
    """A sum over a third of the batch counts three times."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    tasks = [mtk.Task("left", loss), mtk.Task("right", loss), networks.tasks()[2]]
    batch = whole_labels(networks.batch("convolutional", SIZE))
    halves = model_of(combiners.AutoLambda(0.0), tasks=tasks)
    static = model_of(combiners.StaticWeights(), tasks=tasks)
    for model in (halves, static):
        fit(model, batch)
    for one, other in zip(values(halves), values(static), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


class Looking(mtk.MultiTaskModel):
    """Records the arguments of `compute_metrics`."""

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.seen = x, y, y_pred, sample_weight
        return super().compute_metrics(x, y, y_pred, sample_weight)


def test_metrics_see_the_undivided_batch():
    x, y, mask = networks.batch("dense", SIZE)
    keras.utils.set_random_seed(3)
    network = networks.dense()
    model = Looking(network, networks.tasks(), combiners.SDMGrad())
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    fit(model, (x, y, mask))
    seen, labels, predictions, weights = model.seen
    np.testing.assert_array_equal(seen, x)
    np.testing.assert_array_equal(labels["left"], y["left"])
    np.testing.assert_array_equal(weights["right"], mask["right"])
    assert weights["left"] is None
    assert predictions["left"].shape == (SIZE, 3)


def separate_inputs():
    data = {}
    for seed, name in enumerate(networks.TASKS):
        x, y, _ = networks.batch("dense", SIZE, seed=seed)
        data[name] = (x, y[name])
    return data


@pytest.mark.parametrize("name", some(["MoDo", "SDMGrad", "AutoLambda", "MOML", "FORUM"], []))
def test_separate_inputs(name):
    model = model_of(getattr(combiners, name)(), networks.dense)
    before = values(model)
    fit(model, separate_inputs(), 2)
    weights = model.last_weights.numpy()
    assert (weights >= 0).all()
    if name != "FORUM":  # The weights of FORUM need not sum to one.
        assert weights.sum() == pytest.approx(1)
    assert all(np.isfinite(v).all() for v in values(model))
    assert any((one != two).any() for one, two in zip(values(model), before, strict=True))


def test_mixed_batch_sorted_by_task():
    """Each part has examples of both tasks, though the batch is sorted by task."""
    inputs = keras.Input((6,))
    trunk = keras.layers.Dense(4, "tanh", name="trunk")(inputs)
    network = keras.Model(inputs, keras.layers.Dense(3, name="out")(trunk))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [mtk.Task(name, loss) for name in ("fr", "de")]
    model = mtk.MultiTaskModel(network, tasks, combiners.MoDo(0.0))
    model.compile(keras.optimizers.SGD(RATE))
    x, y, _ = networks.batch("dense", SIZE)
    fit(model, (x, y["left"], tf.cast(tf.range(SIZE) >= SIZE // 2, tf.int32)))
    np.testing.assert_allclose(model.last_weights, [0.5, 0.5])


@pytest.mark.slow
def test_single_task():
    inputs = keras.Input((6,))
    network = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    x, y, _ = networks.batch("dense", SIZE)
    for make in (combiners.SDMGrad, combiners.MOML):
        model = mtk.MultiTaskModel(network, [mtk.Task("a", loss)], make())
        model.compile(keras.optimizers.SGD(RATE))
        fit(model, (x, {"a": y["left"]}))
        assert model.last_weights.numpy() == pytest.approx([1])


@pytest.mark.parametrize("kind", ["dense", "ragged", "sparse"])
def test_a_part_has_every_third_example(kind):
    dense = tf.reshape(tf.range(1, 25), (12, 2))
    whole = {
        "dense": dense,
        "ragged": tf.RaggedTensor.from_row_lengths(tf.range(66), tf.range(12)),
        "sparse": tf.sparse.from_dense(tf.where(dense % 5 > 0, dense, 0)),
    }[kind]
    found = parts.divided([SubBatch(whole, []), SubBatch({"x": dense}, [])], 3)
    assert [each.part for each in found] == [0, 0, 1, 1, 2, 2]
    as_dense = {
        "dense": lambda t: t,
        "ragged": lambda t: t.to_tensor(),
        "sparse": tf.sparse.to_dense,
    }[kind]
    for p in range(3):
        first, second = found[2 * p : 2 * p + 2]
        own = as_dense(first.inputs)
        np.testing.assert_array_equal(own, as_dense(whole)[p::3, : own.shape[1]])
        np.testing.assert_array_equal(second.inputs["x"], dense[p::3])


@pytest.mark.slow
def test_indivisible_batch_is_refused():
    x, y = whole_labels(networks.batch("convolutional", 10))
    model = model_of(combiners.MoDo())
    with pytest.raises(
        ValueError, match="10 examples cannot be split into 3 equal parts.*combiner compares"
    ):
        model.check(tf.data.Dataset.from_tensors((x, y)))
    with pytest.raises(
        ValueError, match="10 examples cannot be split into 3 equal parts.*combiner compares"
    ):
        fit(model, (x, y))
    unknown = tf.data.Dataset.from_tensor_slices((x, y)).batch(9)  # The last batch has one example.
    with pytest.raises(tf.errors.InvalidArgumentError, match="cannot be split into 3 equal parts"):
        model.fit(unknown, verbose=0)
    micro = model_of(combiners.MoDo(), micro_batches=2)
    x, y = whole_labels(networks.batch("convolutional", 9))
    with pytest.raises(ValueError, match="9 examples cannot be split into 6 equal parts"):
        micro.check(tf.data.Dataset.from_tensors((x, y)))


WRAPPERS = {
    "CRMOGM": combiners.CRMOGM,
    "WarmUp": lambda c: combiners.WarmUp(c, 2),
    "TaskSubset": lambda c: combiners.TaskSubset(c, 2),
    "Every": lambda c: combiners.Every(c, 2),
    "UnitGradients": combiners.UnitGradients,
    "PerLayer": combiners.PerLayer,
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_refuse_combiners_that_compare_parts(name):
    with pytest.raises(ValueError, match=f"MoDo compares 3 parts of each batch, but {name}"):
        WRAPPERS[name](combiners.MoDo())
