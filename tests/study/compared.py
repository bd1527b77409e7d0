"""The model and the data that tests of comparisons use."""

import keras
import numpy as np

from mtk.comparison.look import Look

RNG = np.random.default_rng(0)


X = RNG.normal(size=(90, 4)).astype("float32")


Y = {"size": X[:, :1] + 1.0, "kind": (X[:, 1] > 0).astype("float32")[:, None]}


LOOK = Look(["size", "kind"], 0.1, True, {"size": 2.0, "kind": 0.5}, 90, 2.0, (0.1, 0.2), 0.5)


def build():
    x = keras.Input((4,), name="x")
    hidden = keras.layers.Dense(8, "relu")(x)
    outputs = {
        "size": keras.layers.Dense(1, name="size")(hidden),
        "kind": keras.layers.Dense(1, "sigmoid", name="kind")(hidden),
    }
    model = keras.Model(x, outputs)
    losses = {"size": "mse", "kind": "binary_crossentropy"}
    model.compile(keras.optimizers.SGD(0.05), losses, metrics={"size": ["mae"], "kind": ["AUC"]})
    return model
