"""Losses and metrics count each label separately, and missing labels not at all."""

import itertools
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, metrics, ops

import mtk
from mtk import combiners
from tests.quick import some
from tests.trainer import zoo

SIZE = 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(SIZE, 4)).astype("float32")
OTHER = RNG.normal(size=(SIZE, 1)).astype("float32")
POSITIVE = RNG.uniform(0.5, 2.0, (SIZE, 1)).astype("float32")
MISSING = np.array([1, 4, 6])
EXISTING = np.setdiff1d(np.arange(SIZE), MISSING)


@pytest.fixture(autouse=True, params=some(["graph", "eager"], ["eager"]))
def _mode(request, monkeypatch):
    """Eager by default; `test_batch_kinds.py` and others test labels and masks in graphs."""
    monkeypatch.setattr(sys.modules[__name__], "EAGERLY", request.param == "eager")


EAGERLY = True


def network(shape=(1,), activation=None):
    """One output of any shape for `a`, and one number for `b`."""
    keras.utils.set_random_seed(1)
    i = keras.Input((4,))
    h = layers.Dense(3, activation="tanh", name="features")(i)
    a = layers.Reshape(shape)(layers.Dense(int(np.prod(shape)), activation=activation)(h))
    return keras.Model(i, {"a": a, "b": layers.Dense(1)(h)})


def model_of(task, combiner=None, **options):
    model = mtk.MultiTaskModel(network(**options), [task, mtk.Task("b", "mse")], combiner)
    model.compile(keras.optimizers.SGD(0.5), run_eagerly=EAGERLY)
    return model


def batch(y, weights=None):
    """Returns one batch as a dataset: with arrays, Keras needs sample weights of all tasks."""
    data = (X, {"a": y, "b": OTHER})
    return tf.data.Dataset.from_tensors(data if weights is None else (*data, {"a": weights}))


def fitted(model, y, weights=None):
    return model.fit(batch(y, weights), verbose=0).history


def check(task, y, oracle, weights=None, **options):
    """Compares a step with a reference; `oracle` computes the loss of `a` from predictions."""
    plain = network(**options)
    with tf.GradientTape() as tape:
        outputs = plain(X, training=True)
        value = oracle(outputs["a"])
        total = (value + tf.reduce_mean((outputs["b"] - OTHER) ** 2)) / 2
    found = tape.gradient(total, [v.value for v in plain.trainable_variables])
    expected = [v.numpy() - 0.5 * g for v, g in zip(plain.trainable_variables, found, strict=True)]
    model = model_of(task, **options)
    logs = fitted(model, y, weights)
    assert logs["a_loss"][0] == pytest.approx(float(value), rel=1e-5)
    zoo.assert_close(model.network.get_weights(), expected, 2e-6)


def evaluated(task, y, weights=None, **options):
    return model_of(task, **options).evaluate(batch(y, weights), verbose=0, return_dict=True)


def in_logs(logs):
    """Returns the names of the metrics of `a`."""
    return {name for name in logs if name.startswith("a_")} - {"a_loss", "a_weight"}


# A missing label.


def ratio(y_true, y_pred):
    return tf.reduce_mean(tf.abs(y_true - y_pred) / y_true, axis=-1)


LOSSES = {
    "mape": losses.MeanAbsolutePercentageError(),
    "msle": losses.MeanSquaredLogarithmicError(),
    "divergence": losses.KLDivergence(),
    "poisson": losses.Poisson(),
    "ratio": ratio,
    "logarithm": lambda y, p: tf.reduce_mean(p - tf.math.log(y) * p, axis=-1),
}
MARKS = {
    "nan": {"missing": float("nan")},
    "minus_one": {"missing": -1},
    "zero": {"missing": 0},
    "mask": {},
}


def missing_cases():
    for (i, loss), (j, mark) in itertools.product(enumerate(LOSSES), enumerate(MARKS)):
        marks = () if (i + j) % 4 == 0 else (pytest.mark.slow,)
        yield pytest.param(loss, mark, marks=marks, id=f"{loss}-{mark}")


@pytest.mark.parametrize(("loss", "mark"), missing_cases())
def test_missing_labels_add_nothing_to_loss_and_gradients(loss, mark):
    y, mask = POSITIVE.copy(), np.ones(SIZE, "float32")
    y[MISSING] = {"nan": np.nan, "minus_one": -1, "zero": 0, "mask": 0}[mark]
    mask[MISSING] = 0

    def oracle(predictions):
        of = LOSSES[loss]
        return tf.reduce_mean(of(POSITIVE[EXISTING], tf.gather(predictions, EXISTING)))

    weights = mask if mark == "mask" else None
    check(mtk.Task("a", LOSSES[loss], **MARKS[mark]), y, oracle, weights, activation="softplus")


def test_values_of_masked_labels_do_not_matter():
    """Takes a step from the same weights for each value, in a model that is traced once."""
    mask = np.ones(SIZE, "float32")
    mask[MISSING] = 0
    model = model_of(mtk.Task("a", ratio, [metrics.MeanAbsoluteError(name="mae")]))
    start = model.network.get_weights()

    def step(y):
        model.network.set_weights(start)
        return fitted(model, y, mask), model.network.get_weights()

    expected, known = step(POSITIVE)
    for junk in (0.0, -1e30, np.inf, np.nan):
        y = POSITIVE.copy()
        y[MISSING] = junk
        logs, found = step(y)
        assert logs == expected
        zoo.assert_close(found, known, 0.0)


COMBINERS = {
    "famo": combiners.FAMO,
    "pcgrad": combiners.PCGrad,
    "mgda-ub": lambda: combiners.MGDA(at="representation"),
    "gradnorm": combiners.GradNorm,
    "graddrop": combiners.GradDrop,
    "graddrop features": lambda: combiners.GradDrop(at="representation"),
}


@pytest.mark.parametrize("combiner", some(COMBINERS, ["gradnorm"]))
def test_missing_labels_add_nothing_for_any_combiner(combiner):
    """Examples without any label equal a batch without these examples."""
    y, other = POSITIVE.copy(), POSITIVE.copy()
    y[MISSING] = other[MISSING] = np.nan
    found = []
    for rows in (slice(None), EXISTING):
        tasks = [mtk.Task(name, ratio, missing=float("nan")) for name in "ab"]
        model = mtk.MultiTaskModel(network(activation="softplus"), tasks, COMBINERS[combiner]())
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=EAGERLY)
        data = (X[rows], {"a": y[rows], "b": 3 * other[rows]})
        for _ in range(3):
            model.fit(*data, batch_size=SIZE, verbose=0)
        found.append([*model.network.get_weights(), model.last_weights.numpy()])
    if combiner == "graddrop features":
        # It draws for each example, so that the draws depend on the examples of the batch.
        assert all(np.isfinite(values).all() for values in found[0])
    else:
        zoo.assert_close(*found, 2e-6)


# Several labels per example.

SEVERAL = RNG.normal(size=(SIZE, 3)).astype("float32")
GAPS = RNG.uniform(size=(SIZE, 3)) < 0.4
GAPS[2] = True  # An example without any label.
GAPS[3] = False
KEPT = (~GAPS).astype("float32")


def masked_mean(values, kept=KEPT):
    return tf.reduce_sum(tf.where(kept > 0, values, 0.0)) / np.sum(kept > 0)


@pytest.mark.parametrize("given_as", ["nan", "mask"])
def test_each_of_several_labels_is_counted_separately(given_as):
    y = np.where(GAPS, np.nan, SEVERAL) if given_as == "nan" else SEVERAL
    weights = None if given_as == "nan" else KEPT
    task = mtk.Task("a", losses.MeanSquaredError(), missing=float("nan"))
    check(task, y, lambda p: masked_mean((p - SEVERAL) ** 2), weights, shape=(3,))


@pytest.mark.parametrize("loss", ["binary", "huber"])
def test_each_of_several_labels_is_counted_separately_in_other_losses(loss):
    bits = (SEVERAL > 0).astype("float32")
    error = {
        "binary": lambda p: tf.nn.sigmoid_cross_entropy_with_logits(bits, p),
        "huber": lambda p: _huber(p - bits),
    }[loss]
    given = {
        "binary": losses.BinaryCrossentropy(from_logits=True),
        "huber": losses.Huber(0.5),
    }[loss]
    y = np.where(GAPS, -1.0, bits).astype("float32")
    check(mtk.Task("a", given, missing=-1), y, lambda p: masked_mean(error(p)), shape=(3,))


def test_each_label_is_counted_separately_in_a_loss_function_that_averages_them():
    """It does not return the losses of single labels."""
    y = np.where(GAPS, np.nan, SEVERAL)
    task = mtk.Task("a", lambda y, p: tf.reduce_mean((p - y) ** 2, -1), missing=float("nan"))
    check(task, y, lambda p: masked_mean((p - SEVERAL) ** 2), shape=(3,))


def _huber(error, delta=0.5):
    size = tf.abs(error)
    return tf.where(size <= delta, 0.5 * error**2, delta * size - 0.5 * delta**2)


def test_metrics_of_several_labels_ignore_missing_ones():
    bits = (SEVERAL > 0).astype("float32")
    y = np.where(GAPS, -1.0, bits).astype("float32")
    loss = losses.BinaryCrossentropy(from_logits=True)
    task = mtk.Task("a", loss, ["accuracy", metrics.MeanAbsoluteError(name="mae")], missing=-1)
    found = evaluated(task, y, shape=(3,))
    predictions = network(shape=(3,))(X)["a"].numpy()
    right = ((predictions > 0) == bits)[~GAPS].mean()
    assert found["a_accuracy"] == pytest.approx(right, rel=1e-5)
    assert found["a_mae"] == pytest.approx(np.abs(predictions - bits)[~GAPS].mean(), rel=1e-5)


CLASSES = RNG.integers(0, 3, (SIZE, 2))


def cross_entropy(predictions):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(CLASSES, predictions)


def test_ignored_classes_do_not_count():
    y = CLASSES.copy()
    y[:5, 0] = 255
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    kept = y != 255
    check(mtk.Task("a", loss), y, lambda p: masked_mean(cross_entropy(p), kept), shape=(2, 3))
    check(mtk.Task("a", loss), y, lambda p: loss(y, p), shape=(2, 3))


def test_ignored_classes_and_missing_labels_do_not_count():
    y = CLASSES.copy()
    y[:3, 0], y[2:6, 1] = 255, -1
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255)
    kept = (y != 255) & (y >= 0)
    task = mtk.Task("a", loss, missing=-1)
    check(task, y, lambda p: masked_mean(cross_entropy(p), kept), shape=(2, 3))


# Sample weights.

UNEVEN = np.linspace(0.2, 2.0, SIZE).astype("float32")


def with_zeros(dtype="float32"):
    weights = (10 * UNEVEN).astype(dtype) if dtype is not bool else np.ones(SIZE, bool)
    weights[MISSING] = 0
    return weights


def squares(predictions):
    return tf.reduce_mean((predictions - OTHER) ** 2, axis=-1)


DTYPES = ["float32", "float64", "float16", "int32", "uint8", bool]


@pytest.mark.parametrize("dtype", some(DTYPES, ["float16", bool]))
def test_sample_weight_of_zero_means_a_missing_label(dtype):
    weights = with_zeros(dtype)
    w = weights.astype("float32")
    check(
        mtk.Task("a", "mse"),
        OTHER,
        lambda p: tf.reduce_sum(w * squares(p)) / len(EXISTING),
        weights,
    )


def test_positive_sample_weights_equal_keras():
    loss = losses.MeanSquaredError()
    check(mtk.Task("a", loss), OTHER, lambda p: loss(OTHER, p, sample_weight=UNEVEN), UNEVEN)


def test_sample_weights_per_element():
    weights = np.abs(SEVERAL) * KEPT
    check(
        mtk.Task("a", losses.MeanSquaredError()),
        SEVERAL,
        lambda p: tf.reduce_sum(weights * (p - SEVERAL) ** 2) / KEPT.sum(),
        weights,
        shape=(3,),
    )


def test_normalize_by_the_sum_of_weights():
    w = with_zeros()
    check(
        mtk.Task("a", "mse", normalize="weights"),
        OTHER,
        lambda p: tf.reduce_sum(w * squares(p)) / w.sum(),
        w,
    )


def test_normalize_is_checked_and_serialized():
    with pytest.raises(ValueError, match="normalize"):
        mtk.Task("a", "mse", normalize="weight")
    task = mtk.Task("a", "mse", normalize="weights", weighted_metrics=["mae"])
    again = mtk.Task.from_config(task.get_config())
    assert again.get_config() == task.get_config()


def test_metrics_ignore_weights_and_weighted_metrics_do_not():
    task = mtk.Task(
        "a",
        "mse",
        metrics=[metrics.MeanAbsoluteError(name="plain")],
        weighted_metrics=[metrics.MeanAbsoluteError(name="weighted")],
    )
    weights = with_zeros()
    found = evaluated(task, OTHER, weights)
    errors = np.abs(network()(X)["a"].numpy() - OTHER).ravel()
    assert found["a_plain"] == pytest.approx(errors[EXISTING].mean(), rel=1e-5)
    weighted = (weights * errors).sum() / weights.sum()
    assert found["a_weighted"] == pytest.approx(weighted, rel=1e-5)


def test_sum_reduction():
    loss = losses.MeanSquaredError(reduction="sum")
    check(mtk.Task("a", loss), OTHER, lambda p: loss(OTHER, p))
    w = with_zeros()
    check(mtk.Task("a", loss), OTHER, lambda p: tf.reduce_sum(w * squares(p)), w)


def test_mean_with_sample_weight_reduction():
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    w = with_zeros()
    check(mtk.Task("a", loss), OTHER, lambda p: loss(OTHER, p, sample_weight=w), w)


# Forms of predictions, losses and metrics.


RANK_ONE = {
    "mse": "mse",
    "object": losses.MeanAbsoluteError(),
    "function": lambda y, p: (y - p) ** 2,
}
FORMS = list(itertools.product(RANK_ONE, [(SIZE,), (SIZE, 1)]))


@pytest.mark.parametrize(("loss", "shape"), some(FORMS, [FORMS[4]]))
def test_predictions_of_rank_one(loss, shape):
    y = OTHER.reshape(shape)
    power = 1 if loss == "object" else 2
    task = mtk.Task("a", RANK_ONE[loss], [metrics.MeanAbsoluteError(name="mae")])
    check(task, y, lambda p: tf.reduce_mean(tf.abs(p - OTHER[:, 0]) ** power), shape=())


@pytest.mark.slow
def test_metrics_of_predictions_of_rank_one():
    y = np.where(np.arange(SIZE) < 3, np.nan, OTHER[:, 0]).astype("float32")
    task = mtk.Task("a", "mse", ["mae", "mse"], missing=float("nan"))
    found = evaluated(task, y, shape=())
    errors = np.abs(network(shape=())(X)["a"].numpy() - OTHER[:, 0])[3:]
    assert found["a_mae"] == pytest.approx(errors.mean(), rel=1e-5)
    assert found["a_mse"] == pytest.approx((errors**2).mean(), rel=1e-5)


def far(y_true, y_pred):
    return ops.cast(ops.abs(y_true - y_pred) > 0.5, "float32")


@pytest.mark.parametrize(
    "metric", [far, lambda y, p: ops.cast(ops.abs(y - p) > 0.5, "float32")], ids=["named", "lambda"]
)
def test_functions_as_metrics(metric):
    y = OTHER.copy()
    y[MISSING] = np.nan
    found = evaluated(mtk.Task("a", "mse", [metric], missing=float("nan")), y)
    errors = np.abs(network()(X)["a"].numpy() - OTHER)[EXISTING]
    (name,) = in_logs(found)
    assert found[name] == pytest.approx((errors > 0.5).mean())
    assert name == "a_far" or metric is not far


class Over(metrics.Mean):
    """Without `get_config`, as in Keras' guides."""

    def __init__(self, limit=0.0, name="over", **kwargs):
        super().__init__(name=name, **kwargs)
        self.limit = limit

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(ops.cast(y_pred > self.limit, "float32"), sample_weight)


class Required(Over):
    def __init__(self, limit):
        super().__init__(limit, name="required")


class Ends(metrics.MeanAbsoluteError):
    """Returns several values."""

    def result(self):
        return {"low": super().result(), "high": 2 * super().result()}


@pytest.mark.parametrize(("names", "prefix"), [(["a"], ""), (["a", "b"], "a_")])
def test_metric_with_a_dict_result_is_logged_by_key(names, prefix):
    """Its keys get the same prefix as other metrics: none for a single output, as in Keras."""
    x = keras.Input((4,))
    model = mtk.MultiTaskModel(keras.Model(x, {n: keras.layers.Dense(1, name=n)(x) for n in names}))
    model.compile("sgd", dict.fromkeys(names, "mse"), metrics={"a": [Ends(), "mae"]})
    found = model.evaluate(X, dict.fromkeys(names, OTHER), return_dict=True, verbose=0)
    assert found[f"{prefix}low"] == pytest.approx(found[f"{prefix}mae"])
    assert found[f"{prefix}high"] == pytest.approx(2 * found[f"{prefix}mae"])


def test_metrics_keep_arguments_missing_from_their_config():
    given = [Over(limit=1e3), Required(-1e3), metrics.CosineSimilarity(axis=1, name="cosine")]
    y = RNG.normal(size=(SIZE, 2, 3)).astype("float32")
    found = evaluated(mtk.Task("a", "mse", given), y, shape=(2, 3))
    p = network(shape=(2, 3))(X)["a"].numpy()
    cosine = (p * y).sum(1) / np.linalg.norm(p, axis=1) / np.linalg.norm(y, axis=1)
    assert found["a_over"] == 0.0
    assert found["a_required"] == 1.0
    assert found["a_cosine"] == pytest.approx(cosine.mean(), rel=1e-4)


@pytest.mark.slow
def test_string_metric_is_logged_under_its_string():
    bits = (OTHER > 0).astype("float32")
    for _ in range(2):  # Keras numbers the names of further objects in a process.
        loss = losses.BinaryCrossentropy(from_logits=True)
        given = ["auc", "mae", "acc", "mean_absolute_error", "AUC"]
        found = evaluated(mtk.Task("a", loss, given), bits)
        assert in_logs(found) == {f"a_{name}" for name in given}
        assert found["a_mae"] == pytest.approx(found["a_mean_absolute_error"])


def test_metric_objects_are_logged_under_their_names_in_every_model():
    for _ in range(2):
        given = [metrics.MeanAbsoluteError(), metrics.AUC(name="area")]
        task = mtk.Task("a", losses.BinaryCrossentropy(from_logits=True), given)
        found = evaluated(task, (OTHER > 0).astype("float32"))
        assert "a_area" in found
        assert len(in_logs(found)) == 2
