"""Uncertainty weights: which tasks are regressions, by their losses."""

import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from mtk.combiners.uncertainty import CLASSIFICATION, REGRESSION, is_regression
from mtk.losses import SmoothedCrossentropy


class OwnSquares(keras.losses.MeanSquaredError):
    pass


class OwnLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return tf.reduce_mean(tf.abs(y_true - y_pred), -1)


REGRESSIONS = [
    "mse",
    "mean_squared_error",
    "mae",
    "huber",
    "log_cosh",
    "MeanSquaredError",
    keras.losses.MeanSquaredError(),
    keras.losses.MeanAbsoluteError(),
    keras.losses.MeanAbsolutePercentageError(),
    keras.losses.MeanSquaredLogarithmicError(),
    keras.losses.Huber(delta=2.0),
    keras.losses.LogCosh(),
    keras.losses.mean_squared_error,
    keras.losses.huber,
    OwnSquares(),
]
CLASSIFICATIONS = [
    "binary_crossentropy",
    "sparse_categorical_crossentropy",
    "kl_divergence",
    "hinge",
    keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1),
    keras.losses.CategoricalCrossentropy(),
    keras.losses.SparseCategoricalCrossentropy(ignore_class=255),
    keras.losses.BinaryFocalCrossentropy(),
    keras.losses.CategoricalFocalCrossentropy(),
    keras.losses.KLDivergence(),
    keras.losses.Hinge(),
    keras.losses.CategoricalHinge(),
    keras.losses.Dice(),
    keras.losses.categorical_crossentropy,
    SmoothedCrossentropy(),
]
NEITHER = [
    lambda y_true, y_pred: tf.square(y_true - y_pred),
    functools.partial(keras.losses.huber, delta=2.0),
    keras.losses.Poisson(),
    keras.losses.CosineSimilarity(),
    keras.losses.poisson,
    OwnLoss(),
]


def named(loss):
    return getattr(loss, "__name__", type(loss).__name__)


@pytest.mark.parametrize("loss", REGRESSIONS, ids=named)
def test_regressions(loss):
    assert is_regression(loss) is True


@pytest.mark.parametrize("loss", CLASSIFICATIONS, ids=named)
def test_classifications(loss):
    assert is_regression(loss) is False


@pytest.mark.parametrize("loss", NEITHER, ids=named)
def test_losses_of_unknown_kind_are_refused(loss):
    assert is_regression(loss) is None
    combiner = combiners.UncertaintyWeights()
    with pytest.raises(ValueError, match=r"losses of \['b'\] do not tell.*regression=\[\.\.\.\]"):
        combiner.bind_losses({"a": "mse", "b": loss})
    # If regressions are given, the kinds of the losses need not be known.
    for regression in ([], ["b"]):
        combiners.UncertaintyWeights(regression).bind_losses({"a": "mse", "b": loss})


def test_every_loss_of_keras_has_a_kind():
    named = {getattr(keras.losses, name) for name in (*REGRESSION, *CLASSIFICATION)}
    functions = {
        value
        for name, value in vars(keras.losses).items()
        if callable(value) and not isinstance(value, type) and name == name.lower()
    }
    others = {"poisson", "cosine_similarity", "circle", "get", "serialize", "deserialize"}
    assert {value.__name__ for value in functions - named} <= others


def bound(losses: dict, **options: object) -> combiners.UncertaintyWeights:
    combiner = combiners.UncertaintyWeights(**options)
    combiner.bind(list(losses), [])
    combiner.bind_losses(losses)
    combiner.build(len(losses))
    return combiner


def first_weights(combiner: combiners.UncertaintyWeights) -> np.ndarray:
    number = combiner.num_tasks
    return combiner.task_weights(tf.ones(number), tf.ones(number, tf.bool), tf.ones(number)).numpy()


MIXED = {"depth": "mae", "classes": "sparse_categorical_crossentropy", "size": "mse"}


def test_regressions_have_half_the_weight():
    np.testing.assert_allclose(first_weights(bound(MIXED)), [1 / 6, 1 / 3, 1 / 6])
    # A given list overrides the kinds of the losses.
    found = first_weights(bound(MIXED, regression=["classes"]))
    np.testing.assert_allclose(found, [1 / 3, 1 / 6, 1 / 3])
    np.testing.assert_allclose(first_weights(bound(MIXED, regression=[])), 1 / 3)


def test_without_losses_all_are_classifications():
    combiner = combiners.UncertaintyWeights()
    combiner.build(2)
    np.testing.assert_allclose(first_weights(combiner), 0.5)


@pytest.mark.parametrize("regression", [None, [], ["size"]])
def test_config(regression):
    combiner = combiners.UncertaintyWeights(regression)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(combiner)))
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.get_config() == combiner.get_config()
    assert (restored.regression is None) == (regression is None)
