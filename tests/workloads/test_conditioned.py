import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mtk import Task
from mtk.workloads import Conditioned, Workload


class Numbers(Workload):
    """Two tasks; the score of task `a` is its mean output."""

    name, num_train = "numbers", 8
    tasks = [Task("a", "mse"), Task("b", "mse")]

    def network(self, seed=None):
        inputs = keras.Input((3,))
        x = layers.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed), name="trunk")
        return keras.Model(inputs, {task: layers.Dense(1)(x(inputs)) for task in "ab"})

    def train(self, batch_size, steps, seed, first_step=0):
        x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
        examples = (x, {"a": x[:, :1], "b": x[:, 1:2]})
        return tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)

    def train_evaluation(self, batch_size):
        return self.train(batch_size, 1, 0)

    validation = test = train_evaluation

    def scores(self, network, split):
        return {"a": {"mean": float(tf.reduce_mean(network(tf.ones((2, 3)))["a"]))}}


def conditioned(workload, **options):
    return Conditioned(lambda: workload, ["trunk"], hidden=4, **options)


def test_evaluation_uses_the_preference_and_training_does_not():
    workload = conditioned(Numbers(), preference={"a": 3, "b": 1})
    network = workload.network(seed=0)
    network.set_weights([w + 0.1 for w in network.get_weights()])
    for batches in (workload.validation(5), workload.test(5), workload.train_evaluation(5)):
        (x, weights), y = next(iter(batches))
        np.testing.assert_allclose(weights, [[0.75, 0.25]] * 5)
        assert network((x, weights))["a"].shape == y["a"].shape
    assert next(iter(workload.train(5, 1, 0)))[0].shape == (5, 3)
    found = workload.scores(network, "test")["a"]["mean"]
    expected = network([tf.ones((2, 3)), tf.constant([[0.75, 0.25]] * 2)])["a"]
    np.testing.assert_allclose(found, tf.reduce_mean(expected), rtol=1e-6)
    assert workload.fingerprint() == workload.workload.fingerprint()


def test_inputs_per_task_raise():
    class Own(Numbers):
        def train_evaluation(self, batch_size):
            return (
                super().train_evaluation(batch_size).map(lambda x, y: {n: (x, y[n]) for n in "ab"})
            )

    with pytest.raises(ValueError, match="not \\(x, y\\)"):
        conditioned(Own()).train_evaluation(2)
