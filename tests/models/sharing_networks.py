"""Small networks of every sharing architecture; trains each on one device and on two replicas.

python -m tests.models.sharing_networks out.json [name ...]
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import mtk
from mtk.models import sharing

TASKS = ["a", "b"]
COLUMNS = sharing.Columns(3, {"c": 5}, embedding=2)
LOSS = keras.losses.BinaryCrossentropy(from_logits=True)


def _tabular(build, **arguments: Any):
    return lambda: build(COLUMNS, TASKS, 4, tower=3, seed=0, **arguments)


def _towers(inputs, features, name):
    outputs = {
        task: layers.Dense(1, kernel_initializer="ones", name=f"{task}_logits")(x)
        for task, x in features.items()
    }
    return keras.Model(inputs, outputs, name=name)


def cross_stitch() -> keras.Model:
    inputs = keras.Input((3,))

    def dense(task, where):
        initializer = keras.initializers.GlorotUniform(seed=len(where) + ord(task))
        return layers.Dense(4, "tanh", kernel_initializer=initializer, name=f"{task}_{where}")

    x = sharing.CrossStitch(TASKS, name="lower")({t: dense(t, "below")(inputs) for t in TASKS})
    x = {task: dense(task, "above")(x[task]) for task in TASKS}
    x = sharing.CrossStitch(TASKS, per_channel=True, name="upper")(x)
    return _towers(inputs, x, "cross_stitch")


def mtan() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))

    def convolution(x):
        return layers.Conv2D(4, 3, padding="same", activation="relu")(x)

    early = convolution(inputs)
    late = convolution(early)
    taken = sharing.MTAN(TASKS, 4, pool=2, name="first")(early, late)
    early = convolution(layers.MaxPooling2D()(late))
    late = convolution(early)
    taken = sharing.MTAN(TASKS, 3, name="second")(early, late, taken)
    return _towers(
        inputs, {t: layers.GlobalAveragePooling2D()(x) for t, x in taken.items()}, "mtan"
    )


NETWORKS = {
    "shared_bottom": _tabular(sharing.shared_bottom),
    "mmoe": _tabular(sharing.mmoe, num_experts=3),
    "dselect_k": _tabular(sharing.dselect_k, num_experts=4, k=2, entropy=0.1),
    "cgc": _tabular(sharing.cgc),
    "ple": _tabular(sharing.ple),
    "cross_stitch": cross_stitch,
    "mtan": mtan,
}


def data(network: keras.Model, size: int = 16):
    """Returns inputs and labels for a network."""
    rng = np.random.default_rng(0)
    y = {task: rng.integers(0, 2, (size, 1)).astype("float32") for task in TASKS}
    if isinstance(network.input, dict):
        numbers = rng.normal(size=(size, 3)).astype("float32")
        return {"numbers": numbers, "c": rng.integers(0, 5, size).astype("int32")}, y
    return rng.normal(size=(size, *network.input.shape[1:])).astype("float32"), y


def model(network: keras.Model, combiner: Any, **compiled: Any) -> mtk.MultiTaskModel:
    made = mtk.MultiTaskModel(network, combiner=combiner)
    made.compile(keras.optimizers.SGD(0.1), loss=LOSS, **compiled)
    return made


def trained(name: str, strategy: tf.distribute.Strategy | None) -> list[float]:
    """Returns the mean gates (of MMoE only) and the outputs of a network after four steps."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        compiled = model(NETWORKS[name](), mtk.combiners.MGDA())
    x, y = data(compiled.network)
    watches = [sharing.ExpertUtilization(x)] if name == "mmoe" else []
    fitted = compiled.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=watches)
    gates = [fitted.history[f"a_gate_{expert}"][-1] for expert in range(3 * len(watches))]
    outputs = compiled.network(x)
    return np.concatenate([gates, *(np.ravel(outputs[task]) for task in TASKS)]).tolist()


def main(path: str, *names: str) -> None:
    """Writes `{network: [values on one device, values on two replicas]}` as JSON."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found = {name: [trained(name, None), trained(name, strategy)] for name in names or NETWORKS}
    Path(path).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
