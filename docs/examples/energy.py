"""Energy efficiency of buildings: heating and cooling load, two regressions of one network.

    python docs/examples/energy.py enb.arff

The data are Tsanas & Xifara's (2012), https://archive.ics.uci.edu/dataset/242/energy+efficiency; as
an ARFF file (`enb`, 768 rows, 8 features) they are in the collection of multi-target regressions of
Mulan, https://mulan.sourceforge.net/datasets-mtr.html. Prints the relative root mean squared error
of ten-fold cross-validation.
"""

import argparse

import keras
import numpy as np
import regression

import mtk

EPOCHS, BATCH = 300, 32


def network(features: int, names: list[str]) -> keras.Model:
    """Returns a network with two shared layers and a head of one hidden layer for each target.

    Args:
        features: Numbers in an example.
        names: Of the targets.
    """
    inputs = hidden = keras.Input((features,))
    for _ in range(2):
        hidden = keras.layers.Dense(128, activation="gelu")(hidden)
    towers = {name: keras.layers.Dense(32, activation="gelu")(hidden) for name in names}
    return keras.Model(inputs, {n: keras.layers.Dense(1, name=n)(t) for n, t in towers.items()})


def fit(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int, names: list[str]) -> np.ndarray:
    """Trains on `x` and `y`, and returns predictions for `test`.

    Args:
        x: Inputs.
        y: Targets, a column each.
        test: Inputs.
        seed: Of the initial weights and the order.
        names: Of the targets.
    """
    keras.utils.set_random_seed(seed)
    model = mtk.MultiTaskModel(network(x.shape[1], names))
    rate = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS * (len(x) // BATCH))
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    labels = {name: y[:, k] for k, name in enumerate(names)}
    model.fit(x, labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    predicted = model(test, training=False)
    return np.concatenate([predicted[name] for name in names], axis=1)


def main() -> None:
    """Reads the file that the user names, and prints the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    x, y, names = regression.read_arff(parser.parse_args().file, targets=2)
    errors = regression.cross_validate(x, y, lambda *given: fit(*given, names=names))
    for name, error in zip(names, errors.mean(axis=0), strict=True):
        print(f"{name}: relative RMSE {error:.4f}")
    print(f"mean: {errors.mean():.4f}")


if __name__ == "__main__":
    main()
