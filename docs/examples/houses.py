"""The example of the pages: generated houses, their price, and whether they were sold.

Save this file as `houses.py` next to your own programs, or import it from `docs/examples`.
"""

import keras
import numpy as np


def data(number: int = 1024, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns eight numbers for each house, and the labels of both tasks by name.

    Args:
        number: Number of houses.
        seed: Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(number, 8)).astype("float32")
    noise = rng.normal(scale=0.3, size=(2, number)).astype("float32")
    price = x[:, 0] * x[:, 1] + 0.5 * x[:, 2] + noise[0]
    sold = (x[:, 0] - x[:, 1] * x[:, 3] + noise[1] > 0).astype("int32")
    return x, {"price": price, "sold": sold}


def network() -> keras.Model:
    """Returns a network with a shared layer of 32 units and a head for each task."""
    inputs = keras.Input((8,))
    features = keras.layers.Dense(32, activation="relu", name="trunk")(inputs)
    price = keras.layers.Dense(1, name="price")(features)
    sold = keras.layers.Dense(1, activation="sigmoid", name="sold")(features)
    return keras.Model(inputs, {"price": price, "sold": sold})


def build() -> keras.Model:
    """Returns the network, compiled as in Keras."""
    model = network()
    model.compile(
        keras.optimizers.Adam(0.01),
        loss={"price": "mse", "sold": "binary_crossentropy"},
        metrics={"price": ["mae"], "sold": ["AUC"]},
    )
    return model
