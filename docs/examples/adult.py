"""Census incomes: does a person earn more than 50,000 dollars, and was he or she never married?

    python docs/examples/adult.py adult.data.gz

The data are Kohavi & Becker's (1996), https://archive.ics.uci.edu/dataset/2/adult, as a table with
a line of names at the head. The tasks are those that Ma et al. took of a larger census table,
https://doi.org/10.1145/3219819.3220007. Marital status and relationship are no inputs. Categories
become embeddings. Prints the ROC-AUC of both tasks on a fifth of the rows that was held out.
"""

import argparse
import csv
import gzip
from pathlib import Path

import keras
import numpy as np

import mtk

NUMBERS = ["age", "education_num", "capital_gain", "capital_loss", "hr_per_week"]
CATEGORIES = ["type_employer", "education", "occupation", "race", "sex", "country"]
EPOCHS, BATCH = 12, 256


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, int]]:
    """Returns inputs by name, labels by task, and how many values each category has.

    Args:
        path: The table, or the same compressed with gzip.

    Raises:
        ValueError: If it lacks a column.
    """
    path = Path(path)
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    missing = {*NUMBERS, *CATEGORIES, "income", "marital"} - set(rows[0] if rows else ())
    if missing:
        raise ValueError(f"{path} lacks the columns {sorted(missing)}.")
    numbers = np.array([[float(row[name]) for name in NUMBERS] for row in rows])
    # Gains and losses go over several powers of ten.
    numbers[:, 2:4] = np.log1p(numbers[:, 2:4])
    spread = numbers.std(axis=0)
    numbers = (numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    inputs, sizes = {"numbers": numbers.astype("float32")}, {}
    for name in CATEGORIES:
        values, inputs[name] = np.unique([row[name] for row in rows], return_inverse=True)
        sizes[name] = len(values)
    labels = {
        "income": np.array([row["income"].startswith(">") for row in rows], "int32"),
        "never_married": np.array([row["marital"] == "Never-married" for row in rows], "int32"),
    }
    return inputs, labels, sizes


def network(sizes: dict[str, int]) -> keras.Model:
    """Returns a network that embeds the categories, with two shared layers.

    Args:
        sizes: How many values each category has.
    """
    numbers = keras.Input((len(NUMBERS),), name="numbers")
    indices = {name: keras.Input((), dtype="int32", name=name) for name in sizes}
    embedded = [keras.layers.Embedding(sizes[name], 8)(x) for name, x in indices.items()]
    hidden = keras.layers.Concatenate()([numbers, *embedded])
    for _ in range(2):
        hidden = keras.layers.Dense(128, activation="relu")(hidden)
        hidden = keras.layers.Dropout(0.2)(hidden)
    outputs = {
        name: keras.layers.Dense(1, activation="sigmoid", name=name)(hidden)
        for name in ("income", "never_married")
    }
    return keras.Model({"numbers": numbers, **indices}, outputs)


def main() -> None:
    """Reads the file that the user names, trains, and prints the ROC-AUC of both tasks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--combiner", default="StaticWeights", help="a class in mtk.combiners")
    given = parser.parse_args()
    inputs, labels, sizes = read(given.file)
    order = np.random.default_rng(0).permutation(len(labels["income"]))
    test, train = np.split(order, [len(order) // 5])
    keras.utils.set_random_seed(0)
    model = mtk.MultiTaskModel(network(sizes), combiner=getattr(mtk.combiners, given.combiner)())
    rate = keras.optimizers.schedules.CosineDecay(0.003, EPOCHS * (len(train) // BATCH))
    auc = {name: [keras.metrics.AUC(num_thresholds=1000, name="auc")] for name in labels}
    model.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=auc)
    part = lambda arrays, rows: {name: array[rows] for name, array in arrays.items()}  # noqa: E731
    model.fit(part(inputs, train), part(labels, train), batch_size=BATCH, epochs=EPOCHS, verbose=2)
    logs = model.evaluate(
        part(inputs, test), part(labels, test), batch_size=1024, verbose=0, return_dict=True
    )
    for name in labels:
        print(f"{name}: test ROC-AUC {logs[f'{name}_auc']:.4f}")


if __name__ == "__main__":
    main()
