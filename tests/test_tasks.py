"""Losses, metrics and masks of a task: only labelled elements count."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
import mtk.tasks
from mtk import Task, metrics
from tests.quick import some


def mean(elements):
    return float(
        tf.reduce_sum(elements.values * elements.weights) / tf.reduce_sum(elements.weights)
    )


@pytest.mark.parametrize("missing", [float("nan"), -1.0])
def test_missing_labels_do_not_count(missing):
    y_true = np.array([[1.0], [missing], [3.0]], "float32")
    task = Task("depth", "mean_absolute_error", missing=missing)
    elements = task.elements(y_true, tf.zeros((3, 1)))
    assert elements.weights.numpy().tolist() == [1, 0, 1]
    assert mean(elements) == pytest.approx(2.0)


def test_missing_label_has_no_gradient_and_no_nan():
    y_pred = tf.Variable([[1.0], [2.0]])
    task = Task("depth", "mean_squared_error", missing=float("nan"))
    with tf.GradientTape() as tape:
        elements = task.elements(np.array([[0.0], [np.nan]], "float32"), y_pred)
        loss = tf.reduce_sum(elements.values * elements.weights)
    np.testing.assert_allclose(tape.gradient(loss, y_pred), [[2.0], [0.0]])


def test_missing_class_id_may_be_out_of_range():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    elements = Task("kind", loss, missing=255).elements(np.array([0, 255]), tf.zeros((2, 4)))
    assert np.isfinite(elements.values).all()
    assert mean(elements) == pytest.approx(np.log(4), rel=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 3, 1)])
def test_masks_of_examples_and_of_elements(shape):
    """Per-pixel loss (2, 3); the mask is given per example, per pixel, or with one more axis."""
    mask = np.zeros(shape, "float32")
    mask[0] = 1
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    elements = Task("kind", loss).elements(np.zeros((2, 3), "int32"), tf.zeros((2, 3, 4)), mask)
    assert elements.weights.numpy().tolist() == [[1, 1, 1], [0, 0, 0]]


def test_mask_and_missing_value_are_combined():
    task = Task("depth", "mean_squared_error", missing=0.0)
    elements = task.elements(
        np.array([[1.0], [0.0], [1.0]]), tf.zeros((3, 1)), tf.constant([1, 1, 0])
    )
    assert elements.weights.numpy().tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sparse_categorical_crossentropy", keras.metrics.SparseCategoricalAccuracy),
        (keras.losses.SparseCategoricalCrossentropy(), keras.metrics.SparseCategoricalAccuracy),
        ("categorical_crossentropy", keras.metrics.CategoricalAccuracy),
        (keras.losses.BinaryCrossentropy(), keras.metrics.BinaryAccuracy),
    ],
)
def test_accuracy_depends_on_the_loss(loss, expected):
    (metric,) = Task("a", loss, ["accuracy"]).metrics
    assert type(metric) is expected
    assert metric.name == "accuracy"


def test_binary_accuracy_of_logits_has_threshold_zero():
    (metric,) = Task("a", keras.losses.BinaryCrossentropy(from_logits=True), ["accuracy"]).metrics
    metric.update_state([[1.0], [0.0]], [[0.2], [-0.2]])
    assert float(metric.result()) == 1.0


def test_nested_outputs_cannot_be_serialized():
    mtk.tasks.check_files([Task("a", "mse")])
    with pytest.raises(ValueError, match=r"Rename \['a/b'\].*\{'a_b': \.\.\.\}"):
        mtk.tasks.check_files([Task("a/b", "mse")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "mse"), "non-empty string"),
        (("val_a", "mse"), "does not start with 'val_'"),
        ((1, "mse"), "a non-empty string"),
        (("a", "no_such_loss"), "Unknown loss of task 'a'"),
        (("a", "bnary_crossentropy"), "Did you mean 'binary_crossentropy'"),
        (("a", "mse", ["AUCC"]), "Unknown metric of task 'a': 'AUCC'. Did you mean 'AUC'"),
        (("a", None), "loss of task 'a' is missing"),
        (("a", "mse", ["no_such_metric"]), "Unknown metric of task 'a'"),
        (("a", "mse", ["accuracy"]), "'accuracy' is not defined for the loss of task 'a'"),
        (("a", "mse", "mae"), "`metrics` of task 'a' must be a list"),
    ],
)
def test_invalid_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Task(*arguments)


@pytest.mark.parametrize("missing", ["nan", [-1], "x"])
def test_missing_must_be_a_number(missing):
    with pytest.raises(ValueError, match="`missing` of task 'a'"):
        Task("a", "mse", missing=missing)
    for number in (-1, float("nan"), np.float32(-1)):
        assert Task("a", "mse", missing=number).missing is number


FUNCTIONS = [
    "mean_squared_error",
    "mean_absolute_error",
    "mean_squared_logarithmic_error",
    "huber",
    "log_cosh",
    "hinge",
    "squared_hinge",
    "poisson",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    pytest.param(lambda y_true, y_pred: tf.reduce_mean(tf.square(y_true - y_pred), -1), id="own"),
]


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("dtype", some(["int32", "float32"], ["int32"]))
@pytest.mark.parametrize("loss", FUNCTIONS)
def test_losses_equal_those_of_keras(loss, dtype, rank):
    """Keras broadcasts (B,) labels to (B, 1) predictions and computes in floating point."""
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 2, (9,) if rank == 1 else (9, 1)).astype(dtype)
    y_pred = rng.uniform(0.1, 0.9, (9, 1)).astype("float32")
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=loss)
    expected = model.evaluate(y_pred, y_true, verbose=0)
    assert mean(Task("a", loss).elements(y_true, y_pred)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss", ["categorical_crossentropy", "categorical_hinge", "kl_divergence", "cosine_similarity"]
)
def test_losses_of_vectors_equal_those_of_keras(loss):
    rng = np.random.default_rng(1)
    y_true, y_pred = (rng.dirichlet(np.ones(4), 9).astype("float32") for _ in range(2))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Identity()(inputs))
    model.compile(loss=loss)
    expected = model.evaluate(y_pred, y_true, verbose=0)
    assert mean(Task("a", loss).elements(y_true, y_pred)) == pytest.approx(expected, rel=1e-5)


def test_missing_nan_has_no_effect_on_integer_labels():
    task = Task("a", "sparse_categorical_crossentropy", missing=float("nan"))
    elements = task.elements(np.array([0, 1]), tf.constant([[0.5, 0.5], [0.5, 0.5]]))
    assert elements.weights.numpy().tolist() == [1, 1]


def test_reduced_loss_counts_for_all_examples():
    task = Task("a", lambda y_true, y_pred: tf.reduce_mean(tf.square(y_true - y_pred)))
    elements = task.elements(tf.zeros((2, 1)), tf.constant([[1.0], [2.0]]))
    assert mean(elements) == 2.5


def test_reduced_loss_with_a_mask_raises():
    task = Task("a", lambda y_true, y_pred: tf.reduce_mean(y_pred))
    with pytest.raises(ValueError, match="Return one value per example"):
        task.elements(tf.zeros((2, 1)), tf.zeros((2, 1)), tf.constant([1.0, 0.0]))


def test_config_round_trip():
    task = Task(
        "a",
        keras.losses.CategoricalCrossentropy(label_smoothing=0.3),
        ["mae", metrics.SparseCategoricalError()],
        -1,
    )
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert copy.name == "a"
    assert copy.missing == -1
    assert copy.loss.get_config()["label_smoothing"] == pytest.approx(0.3)
    assert [m.name for m in copy.metrics] == [m.name for m in task.metrics]


def test_error_is_a_percentage_of_labelled_examples():
    metric = metrics.SparseCategoricalError()
    assert float(metric.result()) == 0.0
    scores = tf.one_hot([0, 1, 1, 2], 3)
    metric.update_state([0, 1, 0, 0], scores, sample_weight=[1, 1, 1, 0])
    assert float(metric.result()) == pytest.approx(100 / 3, rel=1e-6)


def test_structured_labels_without_a_loss_per_part_raise():
    labels = {"box": tf.zeros((2, 4)), "class": tf.zeros((2,))}
    with pytest.raises(ValueError, match=r"Received: dict.*Or give each part a loss: \{'found': "):
        mtk.Task("found", "mse").check_labels(labels, tf.zeros((2, 4)))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (tf.ragged.constant([[1.0], [2.0, 3.0]]), r"RaggedTensor.*to_tensor"),
        (tf.sparse.from_dense([[1.0], [0.0]]), r"SparseTensor.*to_dense"),
    ],
)
def test_labels_that_are_not_dense_raise(labels, words):
    with pytest.raises(ValueError, match=words):
        mtk.Task("size", lambda y, p: p[:, 0]).check_labels(labels, tf.zeros((2, 1)))
