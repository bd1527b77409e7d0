"""Ways to share on census incomes: shared bottom, MMoE, CGC, PLE and DSelect-k of one size.

    python docs/examples/adult_sharing.py adult.data.gz

Tasks, inputs and the fifth of the rows that is held out are those of `adult.py`. Each network gets
the width with which its number of parameters comes closest to `--parameters`. Prints the ROC-AUC of
both tasks, the mean over seeds and its standard error, and how the tasks use the experts.
"""

import argparse
import functools
from typing import TypeAlias

import adult
import keras
import numpy as np

import mtk
from mtk.models import sharing

Arrays: TypeAlias = dict[str, np.ndarray]
Rows: TypeAlias = tuple[Arrays, Arrays]
TASKS = ["income", "never_married"]
NETWORKS = {
    "shared bottom": sharing.shared_bottom,
    "MMoE": sharing.mmoe,
    "CGC": sharing.cgc,
    "PLE": sharing.ple,
    "DSelect-k": sharing.dselect_k,
}


def split(inputs: Arrays, labels: Arrays) -> list[Rows]:
    """Returns the test split, a fifth of the rows as in `adult.py`, and the training split."""
    order = np.random.default_rng(0).permutation(len(labels["income"]))
    return [
        ({n: a[rows] for n, a in inputs.items()}, {n: a[rows] for n, a in labels.items()})
        for rows in np.split(order, [len(order) // 5])
    ]


def trained(network: keras.Model, train: Rows, test: Rows, epochs: int) -> list[float]:
    """Trains with equal static weights; returns the ROC-AUC of each task on the test split."""
    model = mtk.MultiTaskModel(network)
    steps = epochs * (len(train[0]["numbers"]) // adult.BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.003, steps)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    area = {
        task: [keras.metrics.AUC(num_thresholds=1000, from_logits=True, name="auc")]
        for task in TASKS
    }
    model.compile(keras.optimizers.Adam(rate), loss=loss, metrics=area)
    model.fit(*train, batch_size=adult.BATCH, epochs=epochs, verbose=0)
    logs = model.evaluate(*test, batch_size=1024, verbose=0, return_dict=True)
    return [logs[f"{task}_auc"] for task in TASKS]


def gates(network: keras.Model, inputs: Arrays) -> str:
    """Returns the mean gates of each task, layer by layer, in words."""
    watch = sharing.ExpertUtilization(inputs, batch_size=1024)
    watch.set_model(network)
    watch.on_train_begin()
    found: dict[str, list[str]] = {}
    for name, value in watch.values().items():
        found.setdefault(name.rpartition("_gate_")[0], []).append(f"{value:.2f}")
    return "; ".join(f"{name}: {' '.join(values)}" for name, values in found.items())


def main() -> None:
    """Trains every network with every seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--parameters", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()
    inputs, labels, sizes = adult.read(given.file)
    test, train = split(inputs, labels)
    columns = sharing.Columns(len(adult.NUMBERS), sizes)
    for name, build in NETWORKS.items():
        make = functools.partial(build, columns, TASKS, dropout=0.2)
        width, found = sharing.width_for(given.parameters, make), []
        for seed in range(given.seeds):
            keras.utils.set_random_seed(seed)
            network = make(width, seed=seed)
            found.append(trained(network, train, test, given.epochs))
        error = np.std(found, axis=0, ddof=min(1, given.seeds - 1)) / np.sqrt(given.seeds)
        each = zip(TASKS, np.mean(found, axis=0), error, strict=True)
        areas = ", ".join(f"{task} {mean:.4f} ± {by:.4f}" for task, mean, by in each)
        size = f"width {width}, {network.count_params():,} parameters"
        print(f"{name}: {size}, ROC-AUC {areas}", flush=True)
        if build is not sharing.shared_bottom:
            print(f"    gates: {gates(network, test[0])}", flush=True)


if __name__ == "__main__":
    main()
