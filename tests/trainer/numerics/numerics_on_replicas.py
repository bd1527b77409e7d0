"""Trains with each numerics option on one device and on two logical CPUs; saves the results.

python -m tests.trainer.numerics.numerics_on_replicas out.npz
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import mtk
from mtk import combiners
from tests import networks

OPTIONS = {
    "mgda": (combiners.MGDA, {"micro_batches": 2}),
    "mgda-ub": (lambda: combiners.MGDA(at="representation"), {"micro_batches": 2}),
    "graddrop features": (
        lambda: combiners.GradDrop(at="representation"),
        {"micro_batches": 2, "on_nonfinite": "skip"},
    ),
    "gradvac skipping": (combiners.GradVac, {"on_nonfinite": "skip"}),
    "famo skipping": (combiners.FAMO, {"on_nonfinite": "skip", "micro_batches": 2}),
    "mgda float16": (combiners.MGDA, {}),
}
BAD = 2  # The step with infinite inputs, in cases that skip such steps.


def data(with_bad: bool) -> tf.data.Dataset:
    x, y, mask = networks.batch("convolutional", size=8 * 6, seed=7)
    bad = with_bad & (tf.range(8 * 6) // 8 == BAD)
    x = tf.where(bad[:, None, None, None], np.inf, x)
    return tf.data.Dataset.from_tensor_slices((x, y, mask)).batch(8, drop_remainder=True)


def train(strategy: tf.distribute.Strategy, name: str) -> dict[str, np.ndarray]:
    make, options = OPTIONS[name]
    half = "float16" in name
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy("mixed_float16" if half else "float32")
    with strategy.scope():
        model = mtk.MultiTaskModel(networks.convolutional(), networks.tasks(), make())
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
        if half:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**18)
        model.compile(optimizer, clip_norm=2.0, **options)
    keras.config.set_dtype_policy("float32")
    logs = model.fit(data("skipping" in name), verbose=0, shuffle=False).history
    counts = [model.skipped_steps, model.optimizer.iterations, model.nonfinite_step]
    if half:
        counts.append(optimizer.dynamic_scale)
    variables = [*model.network.variables, *model.combiner.variables, model.last_weights]
    values = [keras.ops.convert_to_numpy(v).ravel() for v in variables]
    return {
        f"{name} counts": np.array([float(keras.ops.convert_to_numpy(v)) for v in counts]),
        f"{name} values": np.concatenate(values).astype("float64"),
        f"{name} logs": np.array([logs[key][-1] for key in sorted(logs)]),
    }


def refusals(strategy: tf.distribute.Strategy) -> dict[str, np.ndarray]:
    """Returns the errors for options that several logical CPUs do not support."""
    found = {}
    for synchronized, options in ((False, {"jit_compile": True}), (True, {"micro_batches": 2})):
        with strategy.scope():
            network = networks.dense(synchronized=synchronized)
            model = mtk.MultiTaskModel(network, networks.tasks())
            try:
                model.compile("sgd", **options)
            except ValueError as error:
                found[next(iter(options))] = np.array(str(error))
    return found


def main(path: str) -> None:
    device = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(device, parts)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = refusals(strategy)
    for name in OPTIONS:
        alone, together = train(tf.distribute.get_strategy(), name), train(strategy, name)
        results |= {f"1 {key}": value for key, value in alone.items()}
        results |= {f"2 {key}": value for key, value in together.items()}
    np.savez(path, **results)


if __name__ == "__main__":
    main(sys.argv[1])
