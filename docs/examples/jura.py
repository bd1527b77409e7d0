"""Heavy metals in the soil of the Swiss Jura: cadmium, cobalt and copper, three regressions.

    python docs/examples/jura.py jura.arff

The data are Goovaerts' (1997), https://sites.google.com/site/goovaertspierre/pierregoovaertswebsite/download/jura-data;
as an ARFF file (`jura`, 359 rows, 15 features) they are in the collection of multi-target
regressions of Mulan, https://mulan.sourceforge.net/datasets-mtr.html. Prints the relative root mean
squared error of ten-fold cross-validation.
"""

import argparse

import keras
import numpy as np
import regression

import mtk

EPOCHS, BATCH, MEMBERS = 60, 16, 5


def network(features: int, names: list[str]) -> keras.Model:
    """Returns a small network: with 323 examples, more than that only learns them by heart.

    Args:
        features: Numbers in an example.
        names: Of the targets.
    """
    inputs = keras.Input((features,))
    hidden = keras.layers.Dense(64, activation="gelu")(inputs)
    hidden = keras.layers.Dropout(0.2)(hidden)
    return keras.Model(inputs, {name: keras.layers.Dense(1, name=name)(hidden) for name in names})


def fit(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int, names: list[str]) -> np.ndarray:
    """Trains several networks on `x` and `y`, and returns their mean predictions for `test`.

    Args:
        x: Inputs.
        y: Targets, a column each.
        test: Inputs.
        seed: Of the initial weights and the order.
        names: Of the targets.
    """
    labels = {name: y[:, k] for k, name in enumerate(names)}
    predictions = []
    for member in range(MEMBERS):
        keras.utils.set_random_seed(MEMBERS * seed + member)
        model = mtk.MultiTaskModel(network(x.shape[1], names))
        rate = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS * (len(x) // BATCH))
        model.compile(keras.optimizers.Adam(rate), loss="mse", weight_decay=1e-3)
        model.fit(x, labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
        predicted = model(test, training=False)
        predictions.append(np.concatenate([predicted[name] for name in names], axis=1))
    return np.mean(predictions, axis=0)


def main() -> None:
    """Reads the file that the user names, and prints the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    x, y, names = regression.read_arff(parser.parse_args().file, targets=3)
    errors = regression.cross_validate(x, y, lambda *given: fit(*given, names=names))
    for name, error in zip(names, errors.mean(axis=0), strict=True):
        print(f"{name}: relative RMSE {error:.4f}")
    print(f"mean: {errors.mean():.4f}")


if __name__ == "__main__":
    main()
