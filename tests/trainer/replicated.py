"""Trains with each of the given combiners on logical CPUs or workers, and saves the results.

    python -m tests.trainer.replicated --replicas=2 --steps=50 out.npz pcgrad own

One process for each number of replicas: TensorFlow keys collectives by process. With TF_CONFIG set
the process is one of several workers.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import mtk
from mtk import combiners, distribution
from mtk.combiners import PCGrad, ProportionalSampling
from mtk.data.batches import train_batches
from mtk.data.sources import in_memory
from tests import networks
from tests.combiners.cases import CASES

FORMS = ["own", "mixed", "own logs"]
COMBINERS = {case.name: case.make for case in CASES}
COMBINERS["gradnorm last layer"] = combiners.GradNorm
COMBINERS["upgrad at intervals"] = lambda: combiners.UPGrad(update_every=3)


def data(steps: int, size: int = 48):
    """Augmented batches with unevenly missing labels; one task has none in half of each batch."""
    x, y, mask = networks.batch("dense", size=20 * size, seed=7)

    def change(batch, key):
        x, y, mask = batch
        mask = {**mask, "left": tf.cast(tf.range(size) >= size // 2, tf.float32)}
        return x + 0.1 * tf.random.stateless_normal(tf.shape(x), key), y, mask

    return train_batches(in_memory((x, y, mask)), size, steps, seed=5, augment=change)


def own(number: int = 20):
    """Batches with separate inputs for each task."""
    parts = {}
    for seed, name in enumerate(networks.TASKS):
        x, y, _ = networks.batch("dense", size=8 * number, seed=seed)
        parts[name] = (x, y[name])
    return tf.data.Dataset.from_tensor_slices(parts).batch(8)


def mixed(number: int = 20):
    """Batches in which each example belongs to one of two tasks, unevenly over the replicas."""
    x, y, _ = networks.batch("dense", size=16 * number, seed=9)
    task_ids = tf.cast(tf.range(16 * number) % 16 > 9, tf.int32)
    return tf.data.Dataset.from_tensor_slices((x, y["left"], task_ids)).batch(16)


class OwnLogs(mtk.MultiTaskModel):
    def train_step(self, data):
        return {**super().train_step(data), "seen": tf.reduce_mean(data[0])}


def train_form(strategy, form: str):
    """Like `train`, on batches of the two other forms or with a custom `train_step`."""
    keras.utils.set_random_seed(1)
    with strategy.scope():
        kind = OwnLogs if form == "own logs" else mtk.MultiTaskModel
        if form != "mixed":
            network, tasks, combiner = networks.dense(0.0, True), networks.tasks(), PCGrad()
        else:
            inputs = keras.Input((6,))
            network = keras.Model(inputs, keras.layers.Dense(3)(inputs))
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            tasks = [mtk.Task(name, loss, ["accuracy"]) for name in ("fr", "de")]
            combiner = ProportionalSampling()
        model = kind(network, tasks, combiner)
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    batches = {"own": own, "mixed": mixed, "own logs": lambda: data(20)}[form]()
    history = model.fit(batches, verbose=0, shuffle=False).history
    values = [v.numpy().ravel() for v in network.weights if v.dtype == "float32"]
    return np.concatenate(values), np.array([history[name][-1] for name in sorted(history)])


def train(strategy, combiner: str, steps: int):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        network = networks.dense(synchronized=True)
        model = mtk.MultiTaskModel(network, networks.tasks(), COMBINERS[combiner]())
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), weight_decay=1e-3, clip_norm=2.0)
    history = model.fit(data(steps), verbose=0, shuffle=False).history
    values = [v.numpy().ravel() for v in network.weights if v.dtype == "float32"]
    logs = [history[name][-1] for name in sorted(history)]
    return np.concatenate([*values, model.last_weights.numpy()]), np.array(logs)


def masks_differ(strategy) -> bool:
    """Feeds every replica the same examples: only dropout can make their outputs differ."""
    from mtk.trainer.state import State

    with strategy.scope():
        network = networks.dense(0.5)
    inputs = networks.batch("dense")[0]

    @tf.function
    def run():
        def replica():
            context = tf.distribute.get_replica_context()
            state = State(replica=context.replica_id_in_sync_group)
            with state.scope({}):
                return network(inputs, training=True)["left"]

        return strategy.experimental_local_results(strategy.run(replica))

    outputs = [part.numpy() for part in run()]
    return all(np.abs(outputs[0] - other).max() > 1e-3 for other in outputs[1:])


def strategy_of(replicas: int):
    if "TF_CONFIG" in os.environ:
        return distribution.multi_worker(600.0)
    return distribution.mirrored(replicas) if replicas > 1 else distribution.single()


def main(strategy: tf.distribute.Strategy, steps: int, path: str, names: list[str]) -> None:
    several = strategy.num_replicas_in_sync > 1
    results = {"masks_differ": masks_differ(strategy)} if several else {}
    for name in names:
        trained = train_form(strategy, name) if name in FORMS else train(strategy, name, steps)
        results[name], results[name + " logs"] = trained
    distribution.Workers(strategy).wait()
    np.savez(path, **results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("path")
    parser.add_argument("names", nargs="+")
    given = parser.parse_args()
    main(strategy_of(given.replicas), given.steps, given.path, given.names)
