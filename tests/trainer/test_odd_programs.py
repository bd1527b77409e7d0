"""Unusual Keras programs, compared with Keras."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk import combiners
from mtk.trainer import compile_args
from tests.quick import slow, some

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype("float32")
Y = {name: RNG.normal(size=(24, 1)).astype("float32") for name in "ab"}
WORDS = np.array(["red", "green", "blue", "pink"] * 6)


def heads(hidden):
    return {name: layers.Dense(1, name=name)(hidden) for name in "ab"}


def dense():
    x = keras.Input((5,))
    return keras.Model(x, heads(layers.Dense(4, "tanh")(x)))


def ragged():
    """`TextVectorization` uses ragged tensors internally."""
    read = layers.TextVectorization(10, output_sequence_length=3)
    read.adapt(WORDS)
    x = keras.Input((), dtype="string")
    return keras.Model(x, heads(layers.Flatten()(layers.Embedding(10, 4)(read(x)))))


def sparse():
    x = keras.Input((), dtype="string")
    known = ["red", "green", "blue"]
    one_hot = layers.StringLookup(vocabulary=known, output_mode="one_hot", sparse=True)(x)
    return keras.Model(x, heads(layers.Dense(4)(one_hot)))


def fitted(model, x, y=Y, **arguments):
    model.compile(keras.optimizers.SGD(0.05), {"a": "mse", "b": "mse"}, **arguments)
    return model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history


def seeded(build):
    keras.utils.set_random_seed(3)
    return build()


WEIGHTED = {"loss_weights": {"a": 0.5, "b": 1.0}}
# All combiners that weight tasks and keep the scale of the mean.
WEIGHING = {
    "static": combiners.StaticWeights,
    "mgda": combiners.MGDA,
    "mgda_features": lambda: combiners.MGDA(at="representation"),
    "pcgrad": combiners.PCGrad,
    "cagrad": combiners.CAGrad,
    "upgrad": combiners.UPGrad,
    "aligned": combiners.AlignedMTL,
    "imtl_g": combiners.IMTLG,
    "fairgrad": combiners.FairGrad,
    "config": combiners.ConFIG,
    "dualproj": combiners.DualProj,
    "gradnorm": combiners.GradNorm,
    "rlw": combiners.RLW,
    "graddrop": combiners.GradDrop,
}


@pytest.mark.parametrize("name", some(WEIGHING, ["mgda"]))
def test_loss_weight_of_zero_excludes_the_task(name):
    """With the one remaining task, every method takes the step of Keras."""
    one, two = seeded(dense), seeded(dense)
    weights = {"loss_weights": {"a": 0.0, "b": 0.7}}
    # Eagerly, because nine steps take Keras less time than tracing one.
    expected = fitted(one, X, **weights, run_eagerly=True)
    found = fitted(mtk.MultiTaskModel(two, combiner=WEIGHING[name]()), X, **weights)
    for got, wanted in zip(two.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, 1e-5, 1e-6)
    np.testing.assert_allclose(found["loss"], expected["loss"], 1e-5)
    np.testing.assert_allclose(found["a_loss"], expected["a_loss"], 1e-5)
    assert found["b_weight"][-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("build", "combiner"),
    [
        *[(ragged, combiners.MGDA), slow((ragged, combiners.StaticWeights))],
        *[slow((sparse, combiners.StaticWeights)), slow((sparse, combiners.MGDA))],
    ],
)
def test_layers_with_ragged_or_sparse_tensors(build, combiner):
    one, two = seeded(build), seeded(build)
    x = tf.constant(WORDS)
    model = mtk.MultiTaskModel(two, combiner=combiner())
    found = fitted(model, x, metrics={"a": ["mae"]})
    assert model.structure.shared
    if combiner is combiners.StaticWeights:
        expected = fitted(one, x, metrics={"a": ["mae"]}, run_eagerly=True)
        np.testing.assert_allclose(found["a_mae"], expected["a_mae"], 1e-4)


@pytest.mark.parametrize(
    ("weights", "combiner"),
    [
        *[({}, combiners.MGDA), slow(({}, combiners.StaticWeights))],
        slow((WEIGHTED, combiners.StaticWeights)),
        slow((WEIGHTED, combiners.MGDA)),
    ],
)
def test_programs_in_double_precision(combiner, weights):
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # As in a new process.
    try:
        one, two = seeded(dense), seeded(dense)
        expected = fitted(one, X.astype("float64"), **weights, run_eagerly=True)
        found = fitted(mtk.MultiTaskModel(two, combiner=combiner()), X.astype("float64"), **weights)
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])
    assert np.isfinite(found["loss"]).all()
    assert {v.dtype for v in two.variables} == {"float64"}
    if combiner is combiners.StaticWeights and weights:
        np.testing.assert_allclose(found["loss"], expected["loss"], 1e-6)
        for got, wanted in zip(two.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(got, wanted, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("combiner", [slow(combiners.StaticWeights), combiners.MGDA])
def test_xla_with_micro_batches_and_metrics(combiner):
    found = []
    for compiled in (True, False):
        model = mtk.MultiTaskModel(seeded(dense), combiner=combiner())
        arguments = {"micro_batches": 2, "metrics": {"a": ["mae"]}}
        history = fitted(model, X, **arguments, jit_compile=compiled, run_eagerly=not compiled)
        found.append([history["a_mae"], *model.network.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, 1e-4, 1e-6)


def test_xla_needs_a_static_size_of_micro_batches():
    model = mtk.MultiTaskModel(seeded(dense))
    labels = {name: y[:20] for name, y in Y.items()}
    with pytest.raises(ValueError, match="drop_remainder=True"):
        fitted(model, X[:20], labels, micro_batches=2, jit_compile=True)


@pytest.mark.parametrize(("device", "refused"), [("/device:CPU:0", True), ("/device:GPU:0", False)])
def test_steps_per_execution_on_several_devices(device, refused):
    extended = SimpleNamespace(worker_devices=(device, device))
    strategy = SimpleNamespace(num_replicas_in_sync=2, extended=extended)
    arguments = (strategy, seeded(dense), keras.optimizers.SGD(), False, 1, 3)
    if refused:
        with pytest.raises(ValueError, match=r"steps_per_execution=1.* Received: 3"):
            compile_args.check_replicas(*arguments)
    else:
        compile_args.check_replicas(*arguments)


def shifted(y_true, y_pred):
    return tf.reduce_mean(tf.square(y_true - y_pred), -1)


class Reducing(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return tf.reduce_mean(tf.square(y_true - y_pred))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (keras.losses.MeanSquaredError(reduction="none"), "'a' has reduction='none'.*sum_over"),
        (Reducing(), "'a', Reducing, overrides `__call__`.*Override `call"),
    ],
)
def test_losses_with_unsupported_reductions_are_refused(loss, words):
    with pytest.raises(ValueError, match=words):
        mtk.MultiTaskModel(seeded(dense)).compile("sgd", {"a": loss, "b": shifted})


def test_losses_per_example_with_partly_missing_labels_are_nan_under_xla():
    """Without XLA the step stops with a message; XLA drops assertions."""
    x = keras.Input((5,))
    network = keras.Model(x, {"a": layers.Dense(4, activation="softmax")(x)})
    labels = np.full((8, 4), 0.25, "float32")
    labels[2, 1] = np.nan
    task = mtk.Task("a", "kl_divergence", missing=float("nan"))
    for compiled in (True, False):
        model = mtk.MultiTaskModel(network, [task])
        model.compile("sgd", jit_compile=compiled)
        if compiled:
            assert np.isnan(model.train_on_batch(X[:8], {"a": labels}, return_dict=True)["a_loss"])
        else:
            with pytest.raises(
                tf.errors.InvalidArgumentError, match="labels of an example are missing"
            ):
                model.train_on_batch(X[:8], {"a": labels})


class Column:
    """Imitates a column of pandas."""

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values

    def __array__(self, *_, **__):
        return self.values


@pytest.mark.parametrize("form", [np.asarray, tf.constant, Column])
def test_nan_labels_are_named_in_every_form(form):
    model = mtk.MultiTaskModel(seeded(dense))
    model.compile("sgd", {"a": "mse", "b": "mse"})
    wrong = Y["a"].copy()
    wrong[3] = np.nan
    given = {"a": form(wrong), "b": Y["b"]}
    for call in (
        lambda: model.fit(X, given, verbose=0),
        lambda: model.fit(X, Y, validation_data=(X, given), verbose=0),
        lambda: model.evaluate(X, given, verbose=0),
    ):
        with pytest.raises(ValueError, match="1 label of task 'a' is NaN"):
            call()


def test_invalid_network_and_tasks_are_named():
    with pytest.raises(
        TypeError, match=r"`network` must be a Keras model.*MultiTaskModel\(build\(\)\)"
    ):
        mtk.MultiTaskModel(dense)
    for tasks in (["a", "b"], {"a": mtk.Task("a", "mse")}):
        with pytest.raises(ValueError, match=r"`tasks` must be a list of mtk\.Task"):
            mtk.MultiTaskModel(seeded(dense), tasks)


def test_last_layer_of_a_network_that_reuses_layers():
    """Of two layers that follow each other, it is the one that is called last."""
    first, second = layers.Dense(4, name="first"), layers.Dense(4, name="second")
    x = keras.Input((5,))
    hidden = layers.Dense(4)(x)
    model = mtk.MultiTaskModel(
        keras.Model(x, heads(first(second(first(hidden))))), combiner=combiners.GradNorm()
    )
    fitted(model, X)
    paths = [v.path for v in model.structure.layer_variables("last_layer")]
    assert paths == ["first/kernel", "first/bias"]


def test_inspect_needs_compile():
    with pytest.raises(ValueError, match="`compile`, which has not been called"):
        mtk.MultiTaskModel(seeded(dense)).inspect((X, Y))
