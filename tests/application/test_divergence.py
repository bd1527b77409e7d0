import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from application_runs import read_metrics, start

import mtk
from mtk import callbacks
from tests.quick import some

_MARK = 99.0  # A pixel of this value makes the gradient of its batch NaN.


class HidesNaN(keras.layers.Dense):
    """Returns NaN gradients for marked batches, and hides NaN going forward, like max-pooling."""

    def is_marked(self, x, y):
        return tf.reduce_max(x) >= _MARK

    def call(self, x):
        @tf.custom_gradient
        def through(y):
            marked = self.is_marked(x, y)
            return tf.identity(y), lambda upstream: tf.where(marked, math.nan, upstream)

        outputs = through(super().call(x))
        return tf.where(outputs > 0, outputs, 0.0)


@pytest.fixture(params=some([1, 5], [5]), ids=["step by step", "five steps at once"])
def nan_hiding_model(request):
    """A compiled model for `batches` whose losses stay finite when shared weights are NaN."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((64,))
    shared = HidesNaN(8)(inputs)
    outputs = {name: keras.layers.Dense(2)(shared) for name in ("odd", "large")}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = mtk.MultiTaskModel(
        keras.Model(inputs, outputs), [mtk.Task(name, loss) for name in outputs]
    )
    model.compile(keras.optimizers.SGD(0.1), steps_per_execution=request.param)
    return model


def marked(batches, step):
    """Marks the batch of a step, counted from 1."""
    return batches.enumerate(1).map(
        lambda i, data: (tf.where(i == step, data[0] + _MARK, data[0]), data[1])
    )


@pytest.mark.parametrize("step", some([1, 4, 13, 20], [13]))
def test_hidden_nan_is_found(nan_hiding_model, batches, step):
    divergence = callbacks.TerminateOnNonFinite()
    train = marked(batches.repeat(4), step)
    history = nan_hiding_model.fit(
        train, validation_data=batches, steps_per_epoch=10, callbacks=[divergence], epochs=4
    )
    assert np.isfinite(history.history["val_loss"]).all()  # The losses stay finite.
    assert np.isfinite(history.history["loss"]).all()
    assert np.isnan(nan_hiding_model.network.layers[1].kernel.numpy()).any()
    assert (divergence.found_at, divergence.task) == (step, "")
    assert int(nan_hiding_model.optimizer.iterations) == math.ceil(step / 10) * 10


def test_selection_ignores_evaluations_after_a_hidden_nan(nan_hiding_model, batches, tmp_path):
    class Finite(keras.callbacks.Callback):
        found = {}

        def on_epoch_end(self, epoch, logs=None):
            weights = [v.numpy() for v in self.model.network.weights]
            self.found[epoch] = all(np.isfinite(w).all() for w in weights)

    selection = callbacks.BestCheckpoint(tmp_path / "best.weights.h5")
    finite = Finite()
    # Without `TerminateOnNonFinite`, so that training continues.
    nan_hiding_model.fit(
        marked(batches.repeat(4), 15),
        validation_data=batches,
        steps_per_epoch=10,
        epochs=4,
        callbacks=[selection, finite],
    )
    assert list(finite.found.values()) == [True, False, False, False]
    assert selection.selected_step == 10
    assert all(np.isfinite(v.numpy()).all() for v in nan_hiding_model.network.weights)


def test_nan_task_weight_names_its_task(model, batches):
    divergence = callbacks.TerminateOnNonFinite()
    divergence.set_model(model)
    divergence.on_train_begin()
    divergence.step = 10
    divergence.evaluated({"loss": 1.0, "odd_weight": 0.5, "large_weight": math.nan})
    assert (divergence.found_at, divergence.task) == (10, "large")


def test_divergence_of_a_plain_keras_model(batches):
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    divergence = callbacks.TerminateOnNonFinite()
    broken = batches.enumerate(1).map(
        lambda i, data: (data[0], tf.fill((20, 2), tf.where(i == 4, math.inf, 0.0)))
    )
    model.fit(broken, callbacks=[divergence], verbose=0)
    assert (divergence.found_at, divergence.task) == (4, "")


class HidesNaNOfLargeOutputs(HidesNaN):
    """Returns NaN gradients once its outputs are large."""

    def is_marked(self, x, y):
        return tf.reduce_max(tf.abs(y)) >= 1e4


def large():
    """A workload whose losses stay finite although its weights become NaN."""

    def network():
        inputs = keras.Input((8,))
        shared = HidesNaNOfLargeOutputs(8)(inputs)
        return keras.Model(inputs, {n: keras.layers.Dense(2, name=n)(shared) for n in tasks})

    tasks = {"left": 0, "right": 1}
    x = np.random.default_rng(0).normal(size=(600, 8)).astype("float32")
    y = {name: (x[:, column] > 0).astype("int32") for name, column in tasks.items()}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return mtk.workloads.Arrays(network, [mtk.Task(n, loss) for n in tasks], (x, y), 0.2, 0.2)


def start_hidden_divergence(run_dir, **arguments):
    """Starts a run that diverges while all its losses stay finite."""

    def momentum(learning_rate):
        return keras.optimizers.SGD(learning_rate, momentum=0.8)

    return start(large, run_dir, optimizer=momentum, batch_size=64, steps=20, **arguments)


def losses(run_dir, step):
    lines = [line for line in read_metrics(run_dir) if line["step"] == step]
    return [line["value"] for line in lines if line["name"] == "loss"]


def test_run_with_hidden_divergence_ends_as_diverged(tmp_path):
    result = start_hidden_divergence(tmp_path / "run", learning_rate=1e8, evaluate_every=20)
    # Found at step 10: losses of train and validation for two tasks, and their means.
    assert len(losses(tmp_path / "run", 10)) == 6
    assert None not in losses(tmp_path / "run", 10)
    assert result["status"] == "diverged"
    assert result["steps"] < 10
    assert result["task"] == "left"  # The first task with a NaN weight; that of `right` is NaN too.
    assert result["selected_step"] is None
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result
    assert not (tmp_path / "run" / "saved_model").exists()
    assert not (tmp_path / "run" / "checkpoints" / "selected.weights.h5").exists()
    last = [x for x in read_metrics(tmp_path / "run") if x["name"] == "weight"][-1]
    assert last["value"] is None


@pytest.mark.slow
def test_late_hidden_divergence_keeps_the_earlier_selection(tmp_path):
    def late_jump(learning_rate, steps_per_epoch):
        return keras.optimizers.schedules.PiecewiseConstantDecay([5], [learning_rate, 1e8])

    result = start_hidden_divergence(tmp_path / "run", schedule=late_jump, evaluate_every=4)
    assert result["status"] == "diverged"
    assert 6 < result["steps"] <= 12
    last = max(line["step"] for line in read_metrics(tmp_path / "run"))
    assert result["steps"] <= last <= 12
    assert None not in losses(tmp_path / "run", last)
    assert result["selected_step"] == 4
