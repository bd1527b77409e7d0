"""Keras programs of many kinds train the same if `mtk.MultiTaskModel` wraps their network.

Each program is a function of `wrap`, which gets the network and returns the model to compile and
fit; it returns the results of `fit` and `evaluate`, and the model. Every combiner trains each one:

    python -m pytest -m slow tests/trainer/test_keras_programs.py
"""

import contextlib
import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from tests.quick import some

N, BATCH = 24, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5)).astype("float32")
WORDS = RNG.integers(0, 7, (N, 4)).astype("int32")
SIZE = RNG.normal(size=(N, 1)).astype("float32")
FLAG = RNG.integers(0, 2, (N, 1)).astype("float32")
KIND = RNG.integers(0, 3, N).astype("int32")
WEIGHTS = RNG.choice([0.0, 0.5, 2.0], N).astype("float32")
FIT = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}


def trained(model, *data, **options):
    """Fits a compiled model and returns the history."""
    return model.fit(*data, **{**FIT, **options}).history


def heads(h, form=dict):
    outputs = {
        "size": layers.Dense(1, name="size")(h),
        "flag": layers.Dense(1, "sigmoid", name="flag")(h),
    }
    return outputs if form is dict else form(outputs.values())


def dense(form=dict):
    x = keras.Input((5,), name="x")
    h = layers.Dense(6, "tanh", kernel_regularizer="l2", name="trunk")(x)
    return keras.Model(x, heads(layers.Dropout(0.2, seed=1)(h), form))


TWO = {"size": "mse", "flag": "binary_crossentropy"}
LABELS = {"size": SIZE, "flag": FLAG}


def functional(wrap):
    model = wrap(dense())
    model.compile(
        keras.optimizers.Adam(0.01),
        TWO,
        {"size": 1.0, "flag": 0.3},
        {"size": ["mae", keras.metrics.RootMeanSquaredError()], "flag": ["accuracy", "AUC"]},
        {"size": ["mae"], "flag": []},
    )
    return trained(model, X, LABELS, validation_split=1 / 3), model


def list_outputs(wrap):
    model = wrap(dense(list))
    model.compile("sgd", ["mse", "binary_crossentropy"], [0.5, 1.0], [["mae"], ["accuracy"]])
    history = trained(model, X, [SIZE, FLAG], validation_data=(X, [SIZE, FLAG]))
    found = model.evaluate(X, [SIZE, FLAG], verbose=0)
    return {**history, "evaluated": found}, model


def tuple_outputs_and_labels_by_name(wrap):
    model = wrap(dense(tuple))
    model.compile("sgd", TWO, metrics={"flag": "accuracy"})
    return trained(model, X, LABELS, sample_weight=None), model


def single_tensor(wrap):
    x = keras.Input((5,))
    model = wrap(keras.Model(x, layers.Dense(3, "softmax")(layers.Dense(4, "relu")(x))))
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy", "sparse_top_k_categorical_accuracy"])
    history = trained(model, X, KIND, class_weight={0: 1.0, 2: 4.0}, validation_split=1 / 3)
    return {**history, "evaluated": model.evaluate(X, KIND, verbose=0)}, model


def sequential(wrap):
    model = wrap(keras.Sequential([keras.Input((5,)), layers.Dense(4, "relu"), layers.Dense(1)]))
    model.compile("rmsprop", "huber", metrics=["mse"], weighted_metrics=["mse"])
    return trained(model, X, SIZE, sample_weight=WEIGHTS), model


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.trunk, self.norm = layers.Dense(6, "relu"), layers.BatchNormalization()
        self.outs = {"size": layers.Dense(1), "flag": layers.Dense(1, "sigmoid")}

    def call(self, x, training=None):
        h = self.norm(self.trunk(x), training=training)
        self.add_loss(1e-2 * tf.reduce_mean(h**2))
        return {name: out(h) for name, out in self.outs.items()}


def subclassed(wrap):
    network = Subclassed()
    network(X[:1])
    model = wrap(network)
    model.compile("adam", TWO, metrics={"flag": ["accuracy"]})
    return trained(model, X, LABELS), model


def lstm_with_a_shared_embedding(wrap):
    """Two texts with a shared masking embedding and an LSTM each, and numeric inputs."""
    one, two = (keras.Input((4,), dtype="int32", name=name) for name in ("one", "two"))
    x = keras.Input((5,), name="x")
    words = layers.Embedding(7, 3, mask_zero=True, name="words")
    states = [layers.LSTM(4)(words(text)) for text in (one, two)]
    h = layers.Concatenate()([*states, x])
    model = wrap(keras.Model({"one": one, "two": two, "x": x}, heads(layers.Dense(6, "relu")(h))))
    model.compile("sgd", TWO, {"size": 2.0, "flag": 1.0})
    return trained(model, {"one": WORDS, "two": WORDS[::-1].copy(), "x": X}, LABELS), model


def masked_tags(wrap):
    """A label for each word, where padding does not count, and a label for the text."""
    words = keras.Input((4,), dtype="int32")
    h = layers.Embedding(7, 3, mask_zero=True)(words)
    h = layers.GRU(4, return_sequences=True)(h)
    outputs = {
        "tag": layers.Dense(3, "softmax", name="tag")(h),
        "flag": layers.Dense(1, "sigmoid", name="flag")(layers.GlobalAveragePooling1D()(h)),
    }
    model = wrap(keras.Model(words, outputs))
    losses = {"tag": "sparse_categorical_crossentropy", "flag": "binary_crossentropy"}
    model.compile("sgd", losses)
    text = np.maximum(WORDS, np.array([[1, 0, 0, 0]], "int32"))
    return trained(model, text, {"tag": WORDS % 3, "flag": FLAG}), model


def sample_weights_of_one_task(wrap):
    model = wrap(dense())
    model.compile("sgd", TWO, weighted_metrics={"size": ["mae"], "flag": ["accuracy"]})
    weights = {"size": WEIGHTS, "flag": np.ones(N, "float32")}
    data = tf.data.Dataset.from_tensor_slices((X, LABELS, weights)).batch(BATCH)
    return trained(model, data, batch_size=None), model


def sample_weights_of_all(wrap):
    model = wrap(dense(list))
    model.compile("sgd", ["mse", "mse"], metrics=["mae", "mae"])
    return trained(model, X, [SIZE, FLAG], sample_weight=WEIGHTS), model


def own_functions(wrap):
    def asymmetric(y_true, y_pred):
        error = y_true - y_pred
        return tf.reduce_mean(tf.where(error > 0, 2.0, 1.0) * error**2, axis=-1)

    def bias(y_true, y_pred):
        return y_pred - y_true

    model = wrap(dense())
    losses = {"size": asymmetric, "flag": lambda y, p: keras.losses.binary_crossentropy(y, p)}
    model.compile("sgd", losses, metrics={"size": [bias]})
    return trained(model, X, LABELS), model


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return N // BATCH

    def __getitem__(self, number):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        return X[rows], {name: labels[rows] for name, labels in LABELS.items()}


def sequence_of_batches(wrap):
    model = wrap(dense())
    model.compile("adagrad", TWO)
    return trained(model, Batches(), batch_size=None, validation_data=Batches()), model


def generator(wrap):
    def batches():
        for number in itertools.count():
            yield Batches()[number % 3]

    model = wrap(dense())
    model.compile("sgd", TWO, steps_per_execution=3)
    return trained(model, batches(), batch_size=None, steps_per_epoch=3), model


def outputs_without_a_loss(wrap):
    """A list of outputs, of which the middle one has no loss."""
    x = keras.Input((5,))
    h = layers.Dense(6, "tanh")(x)
    outputs = [layers.Dense(1, name="size")(h), h, layers.Dense(1, "sigmoid", name="flag")(h)]
    model = wrap(keras.Model(x, outputs))
    model.compile("sgd", ["mse", None, "binary_crossentropy"])
    return trained(model, X, [SIZE, np.zeros((N, 6), "float32"), FLAG]), model


def several_losses_of_one_output(wrap):
    model = wrap(dense())
    losses = {"size": ["mse", "mae"], "flag": "binary_crossentropy"}
    model.compile("sgd", losses, {"size": [1.0, 0.5], "flag": 1.0})
    return {"loss": trained(model, X, LABELS)["loss"]}, model


class Alternating(keras.callbacks.Callback):
    """Reads attributes of the model that callbacks use, and changes the learning rate."""

    def on_train_begin(self, logs=None):
        assert set(self.model.loss) == set(TWO)
        assert "loss" in self.model.metrics_names
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)

    def on_epoch_end(self, epoch, logs=None):
        assert {"loss", "size_loss", "flag_loss", "val_loss"} <= set(logs)
        self.model.optimizer.learning_rate = 0.01 * (epoch + 1)


def callbacks(wrap):
    model = wrap(dense())
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), TWO)
    own = [
        Alternating(),
        keras.callbacks.ReduceLROnPlateau("val_size_loss", patience=1, mode="min"),
        keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True),
    ]
    return trained(model, X, LABELS, epochs=4, validation_split=1 / 3, callbacks=own), model


def batch_by_batch(wrap):
    model = wrap(dense())
    model.compile("sgd", TWO)
    history = []
    for _, number in itertools.product(range(2), range(3)):
        x, y = Batches()[number]
        history.append(model.train_on_batch(x, y, return_dict=True)["loss"])
    return {"loss": history, "tested": model.test_on_batch(X, LABELS)}, model


PROGRAMS = [
    functional,
    list_outputs,
    tuple_outputs_and_labels_by_name,
    single_tensor,
    sequential,
    subclassed,
    lstm_with_a_shared_embedding,
    masked_tags,
    sample_weights_of_one_task,
    sample_weights_of_all,
    own_functions,
    sequence_of_batches,
    generator,
    outputs_without_a_loss,
    several_losses_of_one_output,
    callbacks,
    batch_by_batch,
]
OF_ONE_TASK = (single_tensor, sequential)  # Nothing to combine.
# Keras logs the mean over batches, or over examples with padding.
LOGGED_DIFFERENTLY = {"masked_tags": ("loss", "tag_loss")}
COMBINERS = {
    "RLW": mtk.combiners.RLW,
    # Loss functions do not say whether a task is a regression.
    "UncertaintyWeights": lambda: mtk.combiners.UncertaintyWeights(regression=[]),
    "FAMO": mtk.combiners.FAMO,
    "GradNorm": mtk.combiners.GradNorm,
    "PCGrad": mtk.combiners.PCGrad,
    "NashMTL": mtk.combiners.NashMTL,
    "GradDrop": mtk.combiners.GradDrop,
    "MGDA-UB": lambda: mtk.combiners.MGDA(at="representation"),
}


@contextlib.contextmanager
def running_eagerly():
    """Runs eagerly: a few steps take Keras less time than tracing one."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def run(program, wrap):
    keras.utils.set_random_seed(1)
    found, model = program(wrap)
    return found, getattr(model, "network", model).get_weights()


# Covered elsewhere or by a similar program. `test_compiled_tasks.py` covers Adam, metrics, sample
# weights; `test_program_forms.py` covers these networks, custom losses and outputs without
# a loss. LSTMs and masks take long to trace: `test_against_jacobian.py` covers both,
# `test_label_kinds.py` padding.
COVERED_ELSEWHERE = (
    *(single_tensor, tuple_outputs_and_labels_by_name, subclassed, sequential),
    *(functional, list_outputs, sequence_of_batches),
    *(sample_weights_of_one_task, sample_weights_of_all),
    *(own_functions, outputs_without_a_loss),
    *(lstm_with_a_shared_embedding, masked_tags),
)


@pytest.mark.parametrize(
    "program",
    some(PROGRAMS, [p for p in PROGRAMS if p not in COVERED_ELSEWHERE]),
    ids=lambda p: p.__name__,
)
def test_program_trains_as_in_keras(program):
    with running_eagerly():
        expected, weights = run(program, lambda network: network)
    found, own = run(program, mtk.MultiTaskModel)
    for one, two in zip(own, weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)
    for name in expected:
        plain = name if name in found else re.sub(r"_\d+$", "", name)  # Keras' automatic numbers.
        if name.removeprefix("val_") not in LOGGED_DIFFERENTLY.get(program.__name__, ()):
            np.testing.assert_allclose(found[plain], expected[name], 1e-4, 1e-6, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "combiner"),
    [
        (program, combiner)
        for program in PROGRAMS
        for combiner in COMBINERS
        if program not in OF_ONE_TASK
    ],
    ids=lambda p: p if isinstance(p, str) else p.__name__,
)
def test_every_combiner_trains_the_program(program, combiner):
    before = []

    def wrap(network):
        before.extend(network.get_weights())
        return mtk.MultiTaskModel(network, combiner=COMBINERS[combiner]())

    _, after = run(program, wrap)
    assert all(np.isfinite(values).all() for values in after)
    assert any(np.abs(one - two).max() > 1e-4 for one, two in zip(before, after, strict=True))
