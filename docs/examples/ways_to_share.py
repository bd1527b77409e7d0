"""What the comparisons of ways to share have in common: training, scores, and the verdict.

The shared bottom is trained with several static weightings, which make the front; the others with
equal weights. All have one number of parameters. Each network gets the learning rate that validates
best with equal weights, so all are tuned alike. Then each is trained with fresh seeds.
"""

import argparse
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

import mtk
from mtk import analysis
from mtk.models import sharing

NETWORKS = {
    "shared bottom": sharing.shared_bottom,
    "MMoE": sharing.mmoe,
    "CGC": sharing.cgc,
    "PLE": sharing.ple,
    "DSelect-k": sharing.dselect_k,
}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03)
BATCH = 256
# Groups of test examples, by which the verdict knows that the test split is a sample.
GROUPS = 32


@dataclass(frozen=True)
class Rows:
    """Examples: inputs by name, and labels by task, NaN where there is none."""

    inputs: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]

    def take(self, rows: np.ndarray) -> "Rows":
        """Returns some of them.

        Args:
            rows: Their numbers.
        """
        part = lambda arrays: {name: array[rows] for name, array in arrays.items()}  # noqa: E731
        return Rows(part(self.inputs), part(self.labels))

    def split(self, seed: int = 0) -> tuple["Rows", "Rows"]:
        """Returns a fifth of the examples, and the others.

        Args:
            seed: Of the order.
        """
        number = len(next(iter(self.labels.values())))
        order = np.random.default_rng(seed).permutation(number)
        held_out, others = np.split(order, [number // 5])
        return self.take(held_out), self.take(others)


@dataclass(frozen=True)
class Comparison:
    """Networks of one size for one table.

    Attributes:
        columns: The inputs.
        task_names: The tasks, all with two classes.
        parameters: How many each network has.
        epochs: How long each is trained.
    """

    columns: sharing.Columns
    task_names: Sequence[str]
    parameters: int
    epochs: int

    def network(self, name: str, seed: int) -> keras.Model:
        """Returns an untrained network.

        Args:
            name: One of `NETWORKS`.
            seed: Of its initial weights and dropout.
        """
        make = functools.partial(NETWORKS[name], self.columns, self.task_names, dropout=0.2)
        return make(sharing.width_for(self.parameters, make), seed=seed)

    def trained(
        self, name: str, rate: float, weights: np.ndarray, seed: int, train: Rows
    ) -> keras.Model:
        """Returns a network that was trained with static weights.

        Args:
            name: One of `NETWORKS`.
            rate: First learning rate of a cosine schedule.
            weights: `(K,)`, of the tasks.
            seed: Of the network and the order of examples.
            train: What it learns from.
        """
        keras.utils.set_random_seed(seed)
        network = self.network(name, seed)
        tasks = [
            mtk.Task(task, keras.losses.BinaryCrossentropy(from_logits=True), missing=float("nan"))
            for task in self.task_names
        ]
        shares = dict(zip(self.task_names, map(float, weights), strict=True))
        model = mtk.MultiTaskModel(network, tasks, mtk.combiners.StaticWeights(shares))
        steps = self.epochs * (len(train.labels[self.task_names[0]]) // BATCH)
        model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)))
        model.fit(train.inputs, train.labels, batch_size=BATCH, epochs=self.epochs, verbose=0)
        return network

    def rate(self, name: str, train: Rows) -> float:
        """Returns the learning rate with the least mean loss on a fifth of the training split.

        Args:
            name: One of `NETWORKS`.
            train: The training split.
        """
        validation, rest = train.split(seed=1)
        equal = np.full(len(self.task_names), 1 / len(self.task_names))

        def loss(rate: float) -> float:
            network = self.trained(name, rate, equal, 0, rest)
            return float(group_losses(network, validation).mean())

        return min(RATES, key=loss)


def group_losses(network: keras.Model, rows: Rows) -> np.ndarray:
    """Returns cross-entropies `(GROUPS, K)` over groups of examples; their mean is that of all.

    Args:
        network: What predicts.
        rows: The examples; a few at the end are left out, so that groups have one size.
    """
    logits = network.predict(rows.inputs, batch_size=4096, verbose=0)
    number = len(next(iter(rows.labels.values()))) // GROUPS * GROUPS
    columns = []
    for task, labels in rows.labels.items():
        y, z = labels.reshape(-1)[:number], logits[task].reshape(-1)[:number].astype("float64")
        known = ~np.isnan(y)
        losses = np.where(known, np.logaddexp(0.0, z) - np.where(known, y, 0.0) * z, 0.0)
        columns.append((losses / known.mean()).reshape(-1, GROUPS).mean(axis=0))
    return np.stack(columns, axis=1)


def areas(network: keras.Model, rows: Rows) -> np.ndarray:
    """Returns the ROC-AUC of each task `(K,)`, over its labelled examples.

    Args:
        network: What predicts.
        rows: The examples.
    """
    logits, found = network.predict(rows.inputs, batch_size=4096, verbose=0), []
    for task, labels in rows.labels.items():
        known = ~np.isnan(labels.reshape(-1))
        found.append(roc_auc_score(labels.reshape(-1)[known], logits[task].reshape(-1)[known]))
    return np.array(found)


def models_of(networks: Sequence[Sequence[keras.Model]], test: Rows) -> analysis.Models:
    """Returns the test losses of models, for the verdict.

    Args:
        networks: For each model, those of all seeds.
        test: The test split.
    """
    losses = np.array([[group_losses(each, test) for each in seeds] for seeds in networks])
    return analysis.Models(losses.mean(axis=2), examples=losses)


def run(comparison: Comparison, rows: Rows, weightings: np.ndarray, seeds: int) -> None:
    """Trains all networks; prints what they reach and the verdict on each.

    Args:
        comparison: What is compared.
        rows: All examples.
        weightings: `(N, K)`, of the shared bottom; equal weights are the first.
        seeds: How many for each model.
    """
    test, train = rows.split()
    found = {}
    for name in NETWORKS:
        rate = comparison.rate(name, train)
        own = weightings if name == "shared bottom" else weightings[:1]
        networks = [
            [comparison.trained(name, rate, weights, seed, train) for seed in range(1, seeds + 1)]
            for weights in own
        ]
        found[name] = models_of(networks, test)
        area = np.mean([areas(network, test) for network in networks[0]], axis=1)
        print(
            f"{name}: {networks[0][0].count_params():,} parameters, learning rate {rate}, "
            f"test loss {found[name].values[0].mean():.4f}, mean ROC-AUC {area.mean():.4f}",
            flush=True,
        )
    for line in verdicts(found, weightings):
        print(line)


def verdicts(found: dict[str, analysis.Models], weightings: np.ndarray) -> Iterator[str]:
    """Yields a line for each question and network: does it go beyond the shared bottom's front?

    Args:
        found: Test losses by network.
        weightings: `(N, K)`, of the shared bottom.
    """
    bottom = found["shared bottom"]
    front = analysis.Models(bottom.values, weightings, bottom.examples)
    methods = {name: models for name, models in found.items() if name != "shared bottom"}
    questions = analysis.asked(weightings.shape[1])
    for question in questions:
        for name, own in analysis.judge(front, methods, question, len(questions)).items():
            yield (
                f"{question}: {name} is {own.answer}, margin {own.margin:+.2f} "
                f"({own.low:+.2f} to {own.high:+.2f}) widths of the front"
            )


def arguments(description: str | None, parameters: int, epochs: int) -> argparse.Namespace:
    """Reads the command line.

    Args:
        description: For `--help`.
        parameters: Of a network, by default.
        epochs: By default.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("file")
    parser.add_argument("--parameters", type=int, default=parameters)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=epochs)
    return parser.parse_args()
