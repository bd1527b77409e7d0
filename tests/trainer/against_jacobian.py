"""Compares a training step with `tape.jacobian`; run as a program, on two replicas.

    python -m tests.trainer.against_jacobian out.json --way=unrolled dense attention

One process can hold one MirroredStrategy, so replicas have a process of their own.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import mtk
from tests.trainer import zoo

WEIGHTS = (0.3, 1.2, 0.5)
WAYS = ("unrolled", "loop", "vectorized")


class Fixed(mtk.combiners.GramianCombiner):
    """Fixed weights that do not sum to one, so that shared variables and heads differ in scale."""

    def task_weights(self, gramian, task_losses, present):
        return tf.constant(WEIGHTS[: task_losses.shape[0]])


class Step(NamedTuple):
    """The result of an SGD step at learning rate 1; lists are in the order of the variables."""

    gramian: np.ndarray
    updates: list[np.ndarray]
    states: list[np.ndarray]


def reference_step(problem: zoo.Problem) -> Step:
    """Computes the step eagerly from its definition."""
    network, (x, y) = problem.network, problem.batch()
    trained = network.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(tf.nest.map_structure(tf.constant, x), training=True)
        losses = [loss(y[task], outputs[task]) for task, loss in problem.losses.items()]
        penalty = tf.add_n(network.losses) if network.losses else tf.constant(0.0)
        stacked = tf.stack(losses)
    zero = tf.UnconnectedGradients.ZERO
    sources = [v.value for v in trained]
    rows = tape.jacobian(stacked, sources, unconnected_gradients=zero, experimental_use_pfor=False)
    extra = tape.gradient(penalty, sources, unconnected_gradients=zero)
    number = len(losses)
    gramian, updates = np.zeros((number, number)), []
    for row, more in zip(rows, extra, strict=True):
        matrix = tf.convert_to_tensor(row).numpy().reshape(number, -1).astype("float64")
        shared = (matrix != 0).any(axis=1).sum() > 1
        gramian += matrix @ matrix.T if shared else 0.0
        weights = np.array(WEIGHTS[:number]) if shared else np.full(number, 1 / number)
        update = (weights @ matrix).reshape(row.shape[1:])
        updates.append(update + tf.convert_to_tensor(more).numpy())
    # The forward pass of a layer may have changed trainable variables.
    updates = [v.numpy() - update for v, update in zip(trained, updates, strict=True)]
    return Step(gramian, updates, _states(network))


def compiled_model(kind: str, way: str, micro_batches: int = 1) -> mtk.MultiTaskModel:
    problem = zoo.build(kind)
    model = mtk.MultiTaskModel(problem.network, problem.tasks, Fixed(), gradients=way)
    model.compile(keras.optimizers.SGD(1.0), micro_batches=micro_batches)
    return model


def library_step(model: mtk.MultiTaskModel, batch: tuple) -> Step:
    """Takes the step with the library."""
    model.fit(*batch, batch_size=zoo.BATCH, shuffle=False, verbose=0)
    updates = [v.numpy() for v in model.network.trainable_variables]
    return Step(model.last_gramian.numpy(), updates, _states(model.network))


def _states(network: keras.Model) -> list[np.ndarray]:
    trained = {id(v) for v in network.trainable_variables}
    return [v.numpy() for v in zoo.variables(network) if id(v) not in trained]


def errors(found: Step, expected: Step) -> dict[str, float]:
    """Returns the largest errors of Gramian and update, relative to the largest value of each."""
    size = np.abs(expected.gramian).max()
    change = max(np.abs(update).max() for update in expected.updates)
    return {
        "gramian": float(np.abs(found.gramian - expected.gramian).max() / size),
        "update": max(
            float(np.abs(one - two).max() / change)
            for one, two in zip(found.updates, expected.updates, strict=True)
        ),
    }


def on_replicas(
    strategy: tf.distribute.Strategy, kinds: Sequence[str], way: str
) -> dict[str, dict]:
    results: dict[str, dict] = {}
    for kind in kinds:
        problem = zoo.build(kind)
        batch, expected = problem.batch(), reference_step(problem)
        try:
            with strategy.scope():
                model = compiled_model(kind, way)
            results[kind] = errors(library_step(model, batch), expected)
        except Exception as error:
            results[kind] = {"error": f"{type(error).__name__}: {error}"[-1500:]}
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--way", choices=WAYS, default="unrolled")
    parser.add_argument("path")
    parser.add_argument("kinds", nargs="+")
    given = parser.parse_args()
    Path(given.path).write_text(
        json.dumps(on_replicas(mtk.distribution.mirrored(2), given.kinds, given.way))
    )
