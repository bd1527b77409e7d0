"""Subclasses of the model with their own `train_step`; as a program, trains on two replicas.

    python -m tests.trainer.own_steps out.json

One process can hold one MirroredStrategy, so replicas have a process of their own.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import mtk
from mtk import combiners

COMBINERS = {
    "static": combiners.StaticWeights,
    "famo": combiners.FAMO,
    "gradnorm": combiners.GradNorm,
    "pcgrad": combiners.PCGrad,
    "mgda every second": lambda: combiners.MGDA(update_every=2),
    "mgda-ub": lambda: combiners.MGDA(at="representation"),
    "graddrop": combiners.GradDrop,
    "graddrop features": lambda: combiners.GradDrop(at="representation"),
}
# These draw for each example, so that replicas draw other values than one device.
DRAWS_BY_EXAMPLE = {"graddrop features"}
SIZE = 8
EPOCHS = 2  # Of two steps each.
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2 * SIZE, 4)).astype("float32")
Y = {task: RNG.normal(size=(2 * SIZE, 1)).astype("float32") for task in "ab"}


class Augmented(mtk.MultiTaskModel):
    """Doubles the inputs, updates its own metric and adds a tensor to the logs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = keras.metrics.Mean(name="seen")

    def train_step(self, data):
        x, *rest = data
        x = 2.0 * x
        self.seen.update_state(x)
        logs = super().train_step((x, *rest))
        return {**logs, "seen": self.seen.result(), "largest": tf.reduce_max(x)}

    def test_step(self, data):
        x, *rest = data
        self.seen.update_state(3.0 * x)
        return {**super().test_step((3.0 * x, *rest)), "seen": self.seen.result()}


def network():
    i = keras.Input((4,))
    h = layers.Dense(3, activation="tanh", name="features")(i)
    return keras.Model(i, {task: layers.Dense(1)(h) for task in "ab"})


def model_of(cls=Augmented, combiner=None, **compiled):
    keras.utils.set_random_seed(1)
    model = cls(network(), [mtk.Task(task, "mse", ["mae"]) for task in "ab"], combiner)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), **compiled)
    return model


def trained(model, factor=1.0):
    """Returns weights and logs."""
    history = model.fit(
        factor * X, Y, batch_size=SIZE, epochs=EPOCHS, shuffle=False, verbose=0
    ).history
    return [w.tolist() for w in model.network.get_weights()], history


def main(path: str) -> None:
    results = {}
    strategy = mtk.distribution.mirrored(2)
    for name, make in COMBINERS.items():
        try:
            with strategy.scope():
                model = model_of(Augmented, make())
            weights, logs = trained(model)
            tested = model.evaluate(X, Y, batch_size=SIZE, verbose=0, return_dict=True)
            results[name] = {"weights": weights, "logs": logs, "tested": tested}
        except Exception as error:
            results[name] = {"error": f"{type(error).__name__}: {error}"[-1500:]}
    Path(path).write_text(json.dumps(results, default=float))


if __name__ == "__main__":
    main(sys.argv[1])
