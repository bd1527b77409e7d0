"""Static weights that change by a schedule or by a callback."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import mtk
from mtk.combiners import StaticWeights

STEPWISE = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.0, 1.0, 3.0])


def weights_of(combiner, steps=5):
    combiner.bind(["a", "b"], [])
    found = [combiner([], [1.0, 2.0]).task_weights.numpy() for _ in range(steps)]
    return np.array(found)[:, 1]


def test_weights_follow_the_schedule():
    # A boundary belongs to the values before it.
    expected = [0.0, 0.0, 1 / 2, 1 / 2, 3 / 4]
    np.testing.assert_allclose(weights_of(StaticWeights(schedule={"b": STEPWISE})), expected)


@pytest.mark.parametrize(
    "later",
    [
        lambda step: step / 1.0,
        lambda step: tf.cast(step, "float32"),
        lambda step: keras.ops.minimum(2.0, 1.0 * step),
    ],
)
def test_functions_as_schedules_multiply_the_weights(later):
    combiner = StaticWeights({"a": 1.0, "b": 3.0}, {"b": later})
    np.testing.assert_allclose(weights_of(combiner, 3), [0.0, 3 / 4, 6 / 7], rtol=1e-6)


def test_only_weights_without_a_schedule_are_static():
    assert StaticWeights([1, 2]).is_static
    assert not StaticWeights([1, 2], schedule={}).is_static


def test_schedule_is_serialized():
    combiner = StaticWeights({"a": 1.0, "b": 2.0}, {"b": STEPWISE})
    config = keras.saving.serialize_keras_object(combiner)
    copy = keras.saving.deserialize_keras_object(config)
    np.testing.assert_allclose(weights_of(copy), weights_of(combiner))


class Swap(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.combiner.assign({"a": 1.0, "b": float(epoch)})


def model(combiner):
    keras.utils.set_random_seed(0)
    x = keras.Input((3,))
    h = layers.Dense(4)(x)
    network = keras.Model(x, {name: layers.Dense(1, name=name)(h) for name in "ab"})
    made = mtk.MultiTaskModel(network, combiner=combiner)
    made.compile("sgd", {"a": "mse", "b": "mse"}, steps_per_execution=2)
    return made


def fit(made, **options):
    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    options = {"batch_size": 4, "epochs": 2, "verbose": 0, "shuffle": False, **options}
    return made.fit(x, {"a": x[:, :1], "b": x[:, 1:2]}, **options).history


def test_callback_changes_the_weights_without_retracing():
    made = model(StaticWeights(schedule={}))
    history = fit(made, callbacks=[Swap()], epochs=3)
    np.testing.assert_allclose(history["b_weight"], [0.0, 1 / 2, 2 / 3], rtol=1e-6)
    assert made.tracings == 1


@pytest.mark.slow
def test_loaded_model_continues_the_schedule(tmp_path):
    slow = keras.optimizers.schedules.PolynomialDecay(0.0, 8, 1.0)
    whole, half = (model(StaticWeights(schedule={"b": slow})) for _ in range(2))
    fit(whole)
    fit(half, epochs=1)
    half.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    fit(loaded, epochs=1)
    for one, two in zip(loaded.network.get_weights(), whole.network.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: weights_of(StaticWeights(schedule={"c": STEPWISE})), r"\['c'\]"),
        (lambda: weights_of(StaticWeights(schedule={"bb": STEPWISE})), "Did you mean 'b'"),
        (lambda: weights_of(StaticWeights({"a": 1, "bb": 2})), "Did you mean 'b'"),
        (lambda: StaticWeights(schedule={"b": 2.0}), r"\['b'\] is"),
        (lambda: StaticWeights({"a": 1, "b": keras.Variable(2.0)}), "variables.*`assign`"),
        (
            lambda: weights_of(StaticWeights()) is None or StaticWeights().assign([1, 2]),
            "cannot be changed",
        ),
    ],
)
def test_invalid_weights_and_schedules_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_assigned_weights_are_checked():
    combiner = StaticWeights(schedule={})
    weights_of(combiner)
    with pytest.raises(ValueError, match="non-negative"):
        combiner.assign([1.0, -1.0])
    with pytest.raises(ValueError, match="3 numbers for 2 tasks"):
        combiner.assign([1.0, 2.0, 3.0])
