"""Settings that several replicas do not support are refused."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.trainer.compile_args import check_replicas

SGD = keras.optimizers.SGD


def check(optimizer, replicas=2, device="/GPU:0", jit_compile=False, steps_at_once=1):
    strategy = SimpleNamespace(
        num_replicas_in_sync=replicas, extended=SimpleNamespace(worker_devices=[device] * replicas)
    )
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.BatchNormalization(synchronized=True)(inputs))
    check_replicas(strategy, network, optimizer, jit_compile, 2, steps_at_once)


@pytest.mark.parametrize(
    ("optimizer", "given", "culprit"),
    [
        (SGD(clipnorm=1.0), {}, "`clipnorm`.*clip_norm"),
        (SGD(clipvalue=1.0), {}, "`clipvalue`"),
        (keras.optimizers.LossScaleOptimizer(SGD(global_clipnorm=1.0)), {}, "`global_clipnorm`"),
        (SGD(gradient_accumulation_steps=2), {}, "`gradient_accumulation_steps`.*micro_batches"),
        (SGD(use_ema=True, ema_overwrite_frequency=5), {}, "`ema_overwrite_frequency`"),
        (SGD(), {"device": "/CPU:0", "jit_compile": True}, "jit_compile=False"),
        (SGD(), {"device": "/CPU:0", "steps_at_once": 4}, "steps_per_execution=1"),
        (SGD(use_ema=True), {}, "synchronized=False"),
    ],
)
def test_unsupported_options_are_named(optimizer, given, culprit):
    with pytest.raises(ValueError, match=rf"(?s){culprit}"):
        check(optimizer, **given)
    check(optimizer, replicas=1, **{"device": "/GPU:0", **given})


@pytest.mark.parametrize("outside", ["network", "metric", "optimizer", "compile"])
def test_objects_created_outside_of_the_scope_are_named(outside):
    def network():
        inputs = keras.Input((2,))
        return keras.Model(inputs, {task: keras.layers.Dense(1)(inputs) for task in "ab"})

    made = {"network": network, "metric": keras.metrics.AUC, "optimizer": SGD}
    before = {name: make() for name, make in made.items() if name == outside}
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        given = {name: before[name] if name in before else make() for name, make in made.items()}
        tasks = [mtk.Task("a", "mse", [given["metric"]]), mtk.Task("b", "mse")]
        model = mtk.MultiTaskModel(given["network"], tasks)
        if outside != "compile":
            model.compile(given["optimizer"])
    if outside == "compile":
        model.compile("sgd")
    named = {"metric": "the metric 'a_auc'", "compile": "the optimizer.*`compile` there"}
    x = np.zeros((4, 2), "float32")
    with pytest.raises(ValueError, match=f"outside.*: {named.get(outside, 'the ' + outside)}"):
        model.fit(x, dict.fromkeys("ab", x[:, :1]), verbose=0)
