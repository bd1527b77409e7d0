"""What a run leaves behind in its process: nothing that grows from run to run."""

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
    """How many graphs of functions are alive."""
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
def test_a_training_leaves_no_graph(combiner):
    fit(combiner)
    before = graphs()
    fit(combiner)
    assert graphs() <= before


def test_the_order_of_the_data_leaves_no_graph():
    def read():
        return [
            batch.tolist() for batch in index_batches(5, np.arange(0, 12, 3), 0).as_numpy_iterator()
        ]

    first = read()
    before = graphs()
    assert read() == first
    assert graphs() <= before


def test_the_order_can_be_made_inside_a_graph():
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
    """Bytes in memory, without what the allocator keeps for later."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
def test_thirty_runs_take_the_memory_of_a_few(tmp_path):
    for number in range(10):  # What is kept once is kept by now.
        run(tmp_path / f"warm{number}")
    before = graphs(), resident()
    for number in range(30):
        run(tmp_path / str(number))
    assert graphs() <= before[0]
    assert resident() - before[1] < 30 * 2e6
