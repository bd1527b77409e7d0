"""A run leaves nothing in its process that grows from run to run."""

import ctypes
import functools
import gc
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.func_graph import FuncGraph

import mtk
from mtk import combiners, experiment
from mtk.data.order import index_batches
from mtk.workloads import MultiDigits
from tests.quick import slow


def graphs():
    """Returns the number of live `FuncGraph` objects."""
    gc.collect()
    return sum(isinstance(each, FuncGraph) for each in gc.get_objects())


def fit(combiner):
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3)(inputs)
    outputs = {name: keras.layers.Dense(1, name=name)(hidden) for name in "ab"}
    tasks = [mtk.Task(name, "mse") for name in "ab"]
    model = mtk.MultiTaskModel(keras.Model(inputs, outputs), tasks, combiner=combiner())
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5))
    x = np.ones((4, 4), "float32")
    model.fit(x, dict.fromkeys("ab", x[:, :1]), verbose=0)


@pytest.mark.parametrize("combiner", [slow(combiners.StaticWeights), combiners.PCGrad])
def test_training_leaks_no_graph(combiner):
    fit(combiner)
    before = graphs()
    fit(combiner)
    assert graphs() <= before


def test_order_of_the_data_leaks_no_graph():
    def read():
        return [
            batch.tolist() for batch in index_batches(5, np.arange(0, 12, 3), 0).as_numpy_iterator()
        ]

    first = read()
    before = graphs()
    assert read() == first
    assert graphs() <= before


def test_order_can_be_created_inside_a_graph():
    @tf.function
    def total():
        return index_batches(6, np.arange(0, 13, 3), 0).reduce(
            tf.constant(0, tf.int64), lambda sum_, batch: sum_ + tf.reduce_sum(batch)
        )

    assert int(total()) == 2 * sum(range(6))


def run(folder):
    workload = functools.partial(MultiDigits, channels=(4, 4), units=8, partners=1)
    small = experiment.Optimization(batch_size=64)
    training = experiment.Training(steps=3)
    experiment.run(workload, folder, training, combiners.PCGrad, optimization=small)


def resident():
    """Returns the resident memory in bytes, without free memory kept by the allocator."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
def test_memory_does_not_grow_over_thirty_runs(tmp_path):
    for number in range(10):  # Caches that are filled once are full after these runs.
        run(tmp_path / f"warm{number}")
    before = graphs(), resident()
    for number in range(30):
        run(tmp_path / str(number))
    assert graphs() <= before[0]
    assert resident() - before[1] < 30 * 2e6
