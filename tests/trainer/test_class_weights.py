"""Class weights, given to `fit` or to a task, equal sample weights by class."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
KIND = RNG.integers(0, 3, 24)
Y = {"kind": KIND, "flag": RNG.integers(0, 2, (24, 1)).astype("float32")}
GIVEN = {"kind": {0: 0.0, 2: 5.0}, "flag": {1: 3.0}}
WEIGHTS = {
    "kind": np.array([0.0, 1.0, 5.0], "float32")[KIND],
    "flag": np.array([1.0, 3.0], "float32")[Y["flag"][:, 0].astype(int)],
}
LOSSES = {"kind": "sparse_categorical_crossentropy", "flag": "binary_crossentropy"}
FIT = {"batch_size": 8, "epochs": 1, "shuffle": False, "verbose": 0}


def network():
    keras.utils.set_random_seed(2)
    x = keras.Input((4,))
    h = layers.Dense(5, "tanh")(x)
    kind = layers.Dense(3, "softmax", name="kind")(h)
    return keras.Model(x, {"kind": kind, "flag": layers.Dense(1, "sigmoid", name="flag")(h)})


def fitted(losses=LOSSES, y=Y, combiner=None, eagerly=True, **options):
    """Trains eagerly by default: a few steps take less time than tracing one."""
    model = mtk.MultiTaskModel(network(), combiner=combiner)
    weighted = {"flag": ["accuracy"], "kind": []}
    model.compile("sgd", losses, weighted_metrics=weighted, run_eagerly=eagerly)
    history = model.fit(X, y, **{**FIT, **options}).history
    return model.network.get_weights(), history


@pytest.fixture(scope="module")
def by_class():
    """Weights and history of training with class weights."""
    return fitted(class_weight=GIVEN)


@pytest.fixture(scope="module")
def by_example():
    """Weights and history of training with the same weights per example."""
    return fitted(sample_weight=WEIGHTS)


@pytest.fixture(scope="module")
def plain():
    """Weights and history of training without any of them."""
    return fitted()


def assert_equal(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_class_weights_equal_sample_weights(by_class, by_example, plain):
    each = ({"class_weight": GIVEN}, {"sample_weight": WEIGHTS})
    by_pcgrad = [
        fitted(combiner=mtk.combiners.PCGrad(), eagerly="sample_weight" in given, **given)
        for given in each
    ]
    for (found, logs), (expected, logged) in ((by_class, by_example), by_pcgrad):
        assert_equal(found, expected)
        for name in ("loss", "kind_loss", "flag_accuracy"):
            np.testing.assert_allclose(logs[name], logged[name], rtol=1e-5)
    assert np.abs(by_class[0][0] - plain[0][0]).max() > 1e-4


def test_class_weights_multiply_sample_weights():
    half = {name: 0.5 * weights for name, weights in WEIGHTS.items()}
    halves = dict.fromkeys(Y, np.full(24, 0.5, "float32"))
    assert_equal(fitted(class_weight=GIVEN, sample_weight=halves)[0], fitted(sample_weight=half)[0])


def test_one_hot_labels(by_class):
    losses = {**LOSSES, "kind": "categorical_crossentropy"}
    y = {**Y, "kind": np.eye(3, dtype="float32")[KIND]}
    assert_equal(fitted(losses, y, class_weight=GIVEN)[0], by_class[0])


@pytest.mark.slow
def test_class_weights_do_not_affect_evaluation():
    logs = fitted(class_weight=GIVEN, validation_data=(X, Y), epochs=1)[1]
    plain = fitted(sample_weight=WEIGHTS, validation_data=(X, Y), epochs=1)[1]
    assert logs["val_kind_loss"] == pytest.approx(plain["val_kind_loss"], rel=1e-5)


def test_class_weights_of_a_task_equal_those_of_fit():
    found = []
    for own, of_fit in ((GIVEN, None), ({}, GIVEN), ({"kind": {1: 9.0}}, GIVEN)):
        tasks = [mtk.Task(n, loss, class_weight=own.get(n)) for n, loss in LOSSES.items()]
        model = mtk.MultiTaskModel(network(), tasks)
        model.compile("sgd", run_eagerly=True)
        data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
        model.fit(data, epochs=2, verbose=0, class_weight=of_fit)
        found.append(model.network.get_weights())
    assert_equal(found[0], found[1])
    assert_equal(found[0], found[2])


def test_missing_labels_have_no_class_weight():
    y = {**Y, "flag": np.where(np.arange(24)[:, None] % 3, Y["flag"], np.nan)}
    tasks = [
        mtk.Task("kind", LOSSES["kind"]),
        mtk.Task("flag", LOSSES["flag"], missing=float("nan"), class_weight={0: 2.0, 1: 2.0}),
    ]
    model = mtk.MultiTaskModel(network(), tasks)
    model.compile("sgd")
    logs = model.fit(X, y, **FIT).history
    assert np.isfinite(logs["loss"]).all()


@pytest.mark.slow
def test_class_weights_apply_to_one_fit_only(by_class, plain):
    model = mtk.MultiTaskModel(network())
    model.compile("sgd", LOSSES)
    model.fit(X, Y, **FIT)
    between = model.network.get_weights()
    model.fit(X, Y, class_weight=GIVEN, **FIT)
    # The first `fit` weighted all classes equally.
    assert_equal(between, plain[0])
    model.network.set_weights(network().get_weights())
    model.fit(X, Y, class_weight=GIVEN, **FIT)
    assert_equal(model.network.get_weights(), by_class[0])


def test_class_weights_are_serialized():
    task = mtk.Task("flag", "binary_crossentropy", class_weight={1: 3.0})
    config = keras.saving.serialize_keras_object(task)
    assert keras.saving.deserialize_keras_object(config).class_weight == {1: 3.0}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"flags": {1: 2.0}}, "Did you mean 'flag'"),
        ({0: 1.0, 1: 2.0}, r"must be a dict by output.*'kind'"),
        ({"flag": {"yes": 2.0}}, "task 'flag' must map classes"),
        ({"flag": {1: -2.0}}, "task 'flag' must map classes"),
        ({"flag": {}}, "task 'flag' must map classes"),
        ([{1: 2.0}], "list of 1 item"),
    ],
)
def test_invalid_class_weights_are_named(given, words):
    with pytest.raises(ValueError, match=words):
        fitted(class_weight=given)


def test_class_weights_need_class_labels():
    x = keras.Input((4,))
    model = mtk.MultiTaskModel(keras.Model(x, layers.Reshape((2, 2, 1))(x)))
    model.compile("sgd", lambda y, p: tf.reduce_mean((y - p) ** 2, axis=[1, 2, 3]))
    with pytest.raises(ValueError, match="labels that are classes"):
        model.fit(X, X.reshape(24, 2, 2, 1), class_weight={0: 1.0}, verbose=0)
