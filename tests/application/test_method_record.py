"""The record of a run's method, which comparisons read instead of names."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import combiners
from mtk.analysis import schema
from mtk.experiment import method


class IouLoss(keras.metrics.Mean):
    """Smaller values are better, although the name contains `iou`."""

    direction = "min"


NOTHING = {"shares": None, "score_directions": {}}


def described(combiner, losses=("mse", "mse"), **workload):
    inputs = keras.Input((3,))
    trunk = keras.layers.Dense(2, name="trunk")(inputs)
    heads = {name: keras.layers.Dense(1, name=name)(trunk) for name in ("left", "right")}
    tasks = [
        mtk.Task("left", losses[0], ["mae", IouLoss(name="iou_loss")]),
        mtk.Task("right", losses[1], [keras.metrics.Mean(name="score")]),
    ]
    model = mtk.MultiTaskModel(keras.Model(inputs, heads), tasks, combiner=combiner)
    model.compile("sgd")
    batch = np.zeros((2, 3)), {name: np.zeros((2, 1)) for name in heads}
    model.check(tf.data.Dataset.from_tensors(batch))
    return method.describe(model, SimpleNamespace(**{**NOTHING, **workload}))


def test_static_weights_are_recorded_by_task_with_a_sum_of_one():
    found = described(combiners.StaticWeights({"right": 3.0, "left": 1.0}))
    assert (found["combiner"], found["static"]) == ("StaticWeights", True)
    assert found["task_weights"] == {"left": 0.25, "right": 0.75}
    assert found["parameters"] == 2 * (3 + 1) + 2 * (2 + 1)
    assert described(combiners.StaticWeights())["task_weights"] == {"left": 0.5, "right": 0.5}


@pytest.mark.parametrize("shares", [None, {"left": 0.2, "right": 0.8}])
def test_weights_of_sampling_are_the_shares_of_the_workload(shares):
    found = described(combiners.ProportionalSampling(), shares=shares)
    assert found["static"]
    assert found["task_weights"] == shares


@pytest.mark.parametrize(("losses", "same"), [(("mse", "mse"), True), (("mse", "mae"), False)])
def test_record_states_whether_losses_have_one_unit(losses, same):
    assert described(combiners.PCGrad(), losses=losses)["one_unit"] is same


def test_report_accepts_the_record():
    """Regression test: a metric without a direction made the report reject the whole record."""
    found = described(combiners.StaticWeights())
    assert found["directions"]["right"]["score"] is None
    assert schema.check({"method": found}, schema.MANIFEST, "manifest.json")["method"] == found


def test_adaptive_methods_are_not_static():
    for combiner in (combiners.PCGrad(), combiners.RLW(), combiners.GradNorm(alpha=1.0)):
        found = described(combiner)
        assert (found["static"], found["task_weights"]) == (False, None)


def test_directions_come_from_metrics_and_not_from_names():
    found = described(combiners.StaticWeights(), score_directions={"bleu": "max"})
    left = {"loss": "min", "mae": "min", "iou_loss": "min", "bleu": "max"}
    right = {"loss": "min", "score": None, "bleu": "max"}
    assert found["directions"] == {"left": left, "right": right}
