"""Every form of labels, masks, outputs and inputs trains the same; others are refused."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk.combiners import MGDA, StaticWeights
from tests.quick import slow, some
from tests.trainer import zoo

SIZE = 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, 4)).astype("float32")
Y = {task: RNG.normal(size=(SIZE, 1)).astype("float32") for task in "abc"}
LABELS = list(Y.values())


@functools.cache
def weights_of_one_task():
    """Returns the weights after two steps on one task, with labels and outputs in dicts."""
    return trained_weights(model_of(network(dict, "a"), "a"), X, {"a": Y["a"]})


def network(form=dict, tasks="abc"):
    keras.utils.set_random_seed(1)
    i = keras.Input((4,))
    h = layers.Dense(3, activation="tanh")(i)
    outputs = {task: layers.Dense(1)(h) for task in tasks}
    if form is not dict:
        outputs = form(outputs.values())
    return keras.Model(i, outputs)


def model_of(net=None, tasks="abc", combiner=None, **compiled):
    model = mtk.MultiTaskModel(net or network(), [mtk.Task(t, "mse") for t in tasks], combiner)
    model.compile(keras.optimizers.SGD(0.1), **compiled)
    return model


def trained_weights(model, *data, **options):
    """Returns the weights after an epoch of two steps."""
    model.fit(*data, batch_size=SIZE // 2, shuffle=False, verbose=0, **options)
    return model.network.get_weights()


def trained_weights_on_one_batch(model, *data):
    """Returns the weights after a step on a dataset: arrays would need weights of all tasks."""
    model.fit(tf.data.Dataset.from_tensors(data), verbose=0)
    return model.network.get_weights()


@pytest.fixture(scope="module")
def expected():
    return trained_weights(model_of(), X, Y)


# Labels.


@pytest.mark.parametrize(
    "labels",
    [LABELS, slow((tuple(LABELS),)), np.concatenate(LABELS, axis=1)],
    ids=["list", "tuple", "matrix"],
)
def test_labels_without_names(expected, labels):
    zoo.assert_close(trained_weights(model_of(), X, labels), expected, 1e-6)


@pytest.fixture(scope="module")
def weights_of_one_batch():
    """The weights after a step on one batch."""
    model = model_of()
    model.train_on_batch(X, Y)
    return model.network.get_weights()


@pytest.mark.parametrize("labels", [LABELS, tuple(LABELS)], ids=["list", "tuple"])
def test_labels_without_names_in_train_on_batch(weights_of_one_batch, labels):
    model = model_of()
    model.train_on_batch(X, labels)
    zoo.assert_close(model.network.get_weights(), weights_of_one_batch, 1e-6)


def test_labels_of_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match=r"Unknown: \['d'\]"):
        trained_weights(model_of(), X, {**Y, "d": Y["a"]})


def test_labels_in_another_order(expected):
    zoo.assert_close(trained_weights(model_of(), X, dict(reversed(Y.items()))), expected, 0.0)


ROUNDED = {task: y.astype("float16").astype("float32") for task, y in Y.items()}


@pytest.fixture(scope="module")
def weights_of_rounded_labels():
    """The weights after training on labels that float16 represents exactly."""
    return trained_weights(model_of(run_eagerly=True), X, ROUNDED)


@pytest.mark.parametrize("dtype", some(["float64", "float16"], ["float64"]))
def test_labels_of_other_dtypes(weights_of_rounded_labels, dtype):
    given = {task: y.astype(dtype) for task, y in ROUNDED.items()}
    zoo.assert_close(trained_weights(model_of(), X, given), weights_of_rounded_labels, 1e-6)


@pytest.fixture(scope="module")
def without_labels_of_b():
    """The weights after a step in which a mask excludes one task."""
    return trained_weights_on_one_batch(
        model_of(run_eagerly=True), X, Y, {"b": np.zeros(SIZE, "float32")}
    )


@pytest.mark.filterwarnings("ignore:No task depends on these variables")
@pytest.mark.parametrize("eagerly", [False, True])
def test_none_as_labels_means_no_labels(without_labels_of_b, eagerly):
    model = model_of(run_eagerly=eagerly)
    model.train_on_batch(X, {**Y, "b": None})
    zoo.assert_close(model.network.get_weights(), without_labels_of_b, 1e-6)


def test_masks_in_a_list(expected):
    ones = [np.ones(SIZE, "float32")] * 3
    zoo.assert_close(trained_weights(model_of(), X, Y, sample_weight=ones), expected, 1e-6)


@pytest.mark.slow
def test_one_sample_weight_for_all_tasks():
    weights = np.linspace(0.1, 1.0, SIZE).astype("float32")
    eager = model_of(run_eagerly=True)
    each = trained_weights(eager, X, Y, sample_weight=dict.fromkeys("abc", weights))
    zoo.assert_close(trained_weights(model_of(), X, Y, sample_weight=weights), each, 1e-6)


# Outputs.


GIVEN = {"names": Y, "order": LABELS}
UNNAMED = list(itertools.product([list, tuple], GIVEN))


@pytest.mark.parametrize(("form", "given"), some(UNNAMED, [UNNAMED[3]]))
def test_outputs_without_names(expected, form, given):
    zoo.assert_close(trained_weights(model_of(network(form)), X, GIVEN[given]), expected, 1e-6)


FORMS = {"dict": dict, "list": list, "plain": lambda outputs: next(iter(outputs))}
ONE = {"plain": Y["a"], "dict": {"a": Y["a"]}, "list": [Y["a"]]}
PAIRS = list(itertools.product(FORMS, ONE))


@pytest.mark.parametrize(("form", "labels"), some(PAIRS, PAIRS[::4]))
def test_every_form_of_one_task(form, labels):
    form, labels = FORMS[form], ONE[labels]
    found = trained_weights(model_of(network(form, "a"), "a"), X, labels)
    zoo.assert_close(found, weights_of_one_task(), 1e-6)


# Masks and task ids.

MASK = np.array([1, 0, 1, 1, 0, 1] * 2)


@functools.cache
def masked(dtype, tasks="a"):
    mask = MASK.astype(dtype)
    if tasks == "a":
        return trained_weights(model_of(network(dict, "a"), "a"), X, Y["a"], sample_weight=mask)
    return trained_weights_on_one_batch(model_of(), X, Y, {"b": mask})


@pytest.mark.parametrize("dtype", some(["int32", "int64", "uint8", bool, "float64"], ["int64"]))
def test_mask_of_any_dtype_for_one_task(dtype):
    zoo.assert_close(masked(dtype), masked("float32"), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", some(["int32", "int64", "uint8", bool], ["uint8"]))
def test_mask_of_any_dtype_for_several_tasks(dtype):
    # Graph rewriting changes rounding.
    zoo.assert_close(masked(dtype, "abc"), masked("float32", "abc"), 1e-7)


def mixed(ids, **compiled):
    keras.utils.set_random_seed(1)
    i = keras.Input((4,))
    net = keras.Model(i, layers.Dense(1)(layers.Dense(3, activation="tanh")(i)))
    data = tf.data.Dataset.from_tensor_slices((X, Y["a"], ids)).batch(SIZE)
    model = model_of(net, "ab", StaticWeights(), **compiled)
    model.fit(data, shuffle=False, verbose=0)
    return net.get_weights()


IDS = np.array([0, 1, 1, 0, 1, 1] * 2)


def test_task_ids_of_any_integer_dtype():
    expected = mixed(IDS.astype("int32"), run_eagerly=True)
    for dtype in ("int64", "uint8", "int8"):
        zoo.assert_close(mixed(IDS.astype(dtype), run_eagerly=True), expected, 0.0)


OUT_OF_RANGE = [
    (offset, compiled)
    for offset in (1, -1, 200)
    for compiled in ({}, {"run_eagerly": True}, {"micro_batches": 2})
]


@pytest.mark.parametrize(("offset", "compiled"), some(OUT_OF_RANGE, OUT_OF_RANGE[::4]))
def test_task_ids_out_of_range_are_refused(offset, compiled):
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="(?i)task"):
        mixed((IDS + offset).astype("int32"), **compiled)


def test_task_ids_out_of_range_are_refused_in_evaluate():
    model = model_of(network(lambda outputs: next(iter(outputs)), "a"), "ab")
    data = tf.data.Dataset.from_tensor_slices((X, Y["a"], IDS + 1)).batch(SIZE)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="(?i)task"):
        model.evaluate(data, verbose=0)


def test_dataset_without_labels_is_refused():
    with pytest.raises(ValueError, match=r"A batch must be .*Received: .*float32"):
        model_of().fit(tf.data.Dataset.from_tensors(X), verbose=0)


# Separate inputs.


def test_separate_inputs_in_any_order():
    def run(parts):
        model = model_of(combiner=MGDA(), run_eagerly=True)
        model.fit(tf.data.Dataset.from_tensors(parts), verbose=0)
        return model.network.get_weights()

    parts = {t: (X, Y[t]) for t in "abc"}
    zoo.assert_close(run(dict(reversed(parts.items()))), run(parts), 0.0)


# Sparse and ragged inputs.


class Reads(keras.Model):
    """Reads sparse or ragged rows of tokens."""

    def __init__(self):
        super().__init__()
        self.table = layers.Embedding(5, 3)
        self.heads = {task: layers.Dense(1) for task in "abc"}

    def call(self, inputs):
        if isinstance(inputs, tf.RaggedTensor):
            tokens = inputs.to_tensor(shape=(None, 4))
        elif isinstance(inputs, tf.SparseTensor):
            tokens = tf.sparse.to_dense(inputs)
        else:
            tokens = inputs
        h = tf.reduce_sum(self.table(tokens), axis=1)
        return {task: head(h) for task, head in self.heads.items()}


TOKENS = RNG.integers(0, 5, (SIZE, 4)) * (RNG.uniform(size=(SIZE, 4)) < 0.7)
TOKENS[:, 1:][TOKENS[:, :1].ravel() == 0] = 0


INPUTS = list(itertools.product(["ragged", "sparse"], [1, 3], [StaticWeights, MGDA]))


@pytest.mark.parametrize(("form", "micro_batches", "combiner"), some(INPUTS, [INPUTS[4]]))
def test_sparse_and_ragged_inputs(form, micro_batches, combiner):
    lengths = 4 - (TOKENS[:, ::-1] != 0).argmax(axis=1) * (TOKENS != 0).any(axis=1)
    given = {
        "sparse": lambda: tf.sparse.from_dense(TOKENS),
        "ragged": lambda: tf.RaggedTensor.from_tensor(tf.constant(TOKENS), lengths),
    }[form]()

    def run(inputs, number, **compiled):
        keras.utils.set_random_seed(1)
        net = Reads()
        net(TOKENS)
        model = model_of(net, combiner=combiner(), micro_batches=number, **compiled)
        data = tf.data.Dataset.from_tensors((inputs, Y)).repeat(2)
        model.fit(data, shuffle=False, verbose=0)
        return net.get_weights()

    expected = run(tf.constant(TOKENS), 1, run_eagerly=True)
    zoo.assert_close(run(given, micro_batches), expected, 1e-6)


# `train_on_batch`, `test_on_batch`, `predict_on_batch`, and generators.


SINGLE = list(itertools.product(["a", "abc"], [False, True]))


@pytest.mark.parametrize(("tasks", "eagerly"), some(SINGLE, [("a", True)]))
def test_on_batch_methods_with_numpy_arrays(tasks, eagerly):
    """The labels of a single task may be given without a dict."""
    labels = Y["a"] if tasks == "a" else Y
    reference = model_of(network(dict, tasks), tasks, run_eagerly=True)
    reference.fit(X, labels, batch_size=SIZE, verbose=0)
    model = model_of(network(dict, tasks), tasks, run_eagerly=eagerly)
    model.train_on_batch(X, labels)
    zoo.assert_close(model.network.get_weights(), reference.network.get_weights(), 1e-6)
    found = model.test_on_batch(X, labels, return_dict=True)
    known = reference.evaluate(X, labels, batch_size=SIZE, verbose=0, return_dict=True)
    assert found["a_loss"] == pytest.approx(known["a_loss"], rel=1e-5)
    np.testing.assert_allclose(
        model.predict_on_batch(X)["a"], reference.predict(X, verbose=0)["a"], atol=1e-6
    )


@pytest.mark.parametrize("eagerly", some([False, True], [True]))
def test_train_on_batch_with_an_integer_mask(eagerly):
    results = []
    for mask in (MASK, MASK.astype("float32")):
        model = model_of(network(dict, "a"), "a", run_eagerly=eagerly)
        model.train_on_batch(X, Y["a"], sample_weight=mask)
        results.append(model.network.get_weights())
    zoo.assert_close(*results, 0.0)


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")
@pytest.mark.parametrize("eagerly", some([False, True], [True]))
@pytest.mark.parametrize("of_some", [False, True])
def test_generator_with_none_for_sample_weights(of_some, eagerly):
    """For all tasks or for some, as in Keras."""
    found = []
    for nones in ({"b": None, "c": None}, {}):
        weights = [{"a": np.arange(SIZE) % 2, **nones}] if of_some else [None] if nones else []
        model, batches = model_of(run_eagerly=eagerly), [(X, Y, *weights)] * 2
        model.fit((batch for batch in batches), steps_per_epoch=2, verbose=0)
        losses = model.evaluate((batch for batch in batches), steps=2, verbose=0)
        found.append([*model.network.get_weights(), *losses])
    zoo.assert_close(*found, 0.0)


@pytest.mark.parametrize("what", ["fit", "evaluate"])
def test_exhausted_generator(what):
    """It raises a clear error, not an UnboundLocalError."""
    generator = ((X, Y) for _ in range(2))
    assert len(list(generator)) == 2
    with pytest.raises(ValueError, match="(?i)batch|empty|generator"):
        getattr(model_of(), what)(generator, verbose=0)
