"""Every strategy for per-task gradients equals `tape.jacobian` of losses written out by hand."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk import gradients
from mtk.trainer import batch, forward
from mtk.trainer.state import State
from tests import networks
from tests.quick import some

KINDS = sorted(networks.NETWORKS)


def plain_losses(network, data):
    """Returns the task losses: means over labelled examples."""
    x, y, mask = data
    out = network(x, training=True)
    left = tf.nn.sparse_softmax_cross_entropy_with_logits(y["left"], out["left"])
    right = tf.nn.sparse_softmax_cross_entropy_with_logits(y["right"], out["right"])
    known = ~tf.math.is_nan(y["size"][:, 0])
    size = tf.square(tf.boolean_mask(out["size"] - y["size"], known)[:, 0])
    right = tf.reduce_sum(right * mask["right"]) / tf.reduce_sum(mask["right"])
    return tf.stack([tf.reduce_mean(left), right, tf.reduce_mean(size)])


def gradients_by_strategy(network, data, strategy, shared, heads):
    tasks = networks.tasks()

    @tf.function(autograph=False)
    def compute(data):
        sub_batches = batch.parse(data, networks.TASKS)
        with tf.GradientTape(persistent=True) as tape:
            passed = forward.run(network, tasks, sub_batches, State())
            losses = [tf.math.divide_no_nan(p.total, p.count) for p in passed.tasks]
            stacked = tf.stack(losses)
        return gradients.per_task(tape, losses, stacked, shared, heads, strategy)

    return compute(data)


STRATEGIES = ["unrolled", "loop", "vectorized"]
CASES = list(itertools.product(KINDS, STRATEGIES))


# By default a sample of the cases: `trainer/test_against_jacobian.py` covers many more kinds.
@pytest.mark.parametrize(("kind", "strategy"), some(CASES, CASES[::4]))
def test_strategy_equals_jacobian(kind, strategy):
    network, data = networks.NETWORKS[kind](), networks.batch(kind)
    heads = {
        name: [v for v in network.trainable_variables if name in v.path] for name in networks.TASKS
    }
    of_heads = {id(v) for vs in heads.values() for v in vs}
    shared = [v for v in network.trainable_variables if id(v) not in of_heads]
    with tf.GradientTape(persistent=True) as tape:
        losses = plain_losses(network, data)
    everything = [*shared, *(v for vs in heads.values() for v in vs)]
    rows = tape.jacobian(
        losses,
        [v.value for v in everything],
        unconnected_gradients="zero",
        experimental_use_pfor=False,
    )
    expected = {
        id(v): tf.convert_to_tensor(r).numpy() for v, r in zip(everything, rows, strict=True)
    }

    of_shared, of_tasks = gradients_by_strategy(
        network,
        data,
        strategy,
        [v.value for v in shared],
        [[v.value for v in heads[n]] for n in networks.TASKS],
    )
    for variable, found in zip(shared, of_shared, strict=True):
        np.testing.assert_allclose(found, expected[id(variable)], atol=1e-5, err_msg=variable.path)
    for k, name in enumerate(networks.TASKS):
        for variable, found in zip(heads[name], of_tasks[k], strict=True):
            np.testing.assert_allclose(found, expected[id(variable)][k], atol=1e-5)


@pytest.mark.parametrize("strategy", ["unrolled", "loop", "vectorized"])
def test_gradient_is_zero_for_tasks_that_do_not_use_the_variable(strategy):
    network, data = networks.cross_stitched(), networks.batch("cross_stitched")
    head = network.get_layer("left").kernel
    (found,), _ = gradients_by_strategy(network, data, strategy, [head.value], [[], [], []])
    assert np.abs(found[0]).max() > 0
    assert np.abs(found[1:]).max() == 0


@pytest.mark.parametrize("strategy", ["share", "loop", "vectorized"])
def test_separate_inputs_equal_separate_gradients(strategy):
    """With one input per task, batch norm computes statistics of each sub-batch separately."""
    network = networks.dense()
    data = {}
    for seed, name in enumerate(networks.TASKS):
        x, y, _ = networks.batch("dense", seed=seed)
        data[name] = (x, y[name])
    shared = network.get_layer("trunk").trainable_variables
    found, _ = gradients_by_strategy(
        network, data, strategy, [v.value for v in shared], [[], [], []]
    )
    for k, name in enumerate(networks.TASKS):
        x, y = data[name]
        with tf.GradientTape() as tape:
            loss = plain_losses(
                network,
                (x, {**networks.batch("dense", seed=k)[1], name: y}, {"right": tf.ones(12)}),
            )[k]
        alone = tape.gradient(loss, [v.value for v in shared])
        for row, expected in zip(found, alone, strict=True):
            np.testing.assert_allclose(row[k], expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_gramian_and_weighted_sum_equal_those_of_the_concatenated_matrix(seed):
    rng = np.random.default_rng(seed)
    rows = [
        rng.normal(size=(4, *shape)).astype("float32") for shape in [(3,), (2, 5), (), (1, 2, 2)]
    ]
    matrix = np.concatenate([row.reshape(4, -1) for row in rows], axis=1)
    weights = rng.normal(size=4).astype("float32")
    np.testing.assert_allclose(gradients.gramian(rows), matrix @ matrix.T, rtol=1e-5, atol=1e-5)
    found = gradients.weighted_sum([tf.constant(row) for row in rows], tf.constant(weights))
    flat = np.concatenate([np.reshape(part, -1) for part in found])
    np.testing.assert_allclose(flat, weights @ matrix, rtol=1e-5, atol=1e-5)


def test_auto_chooses_by_inputs_and_number_of_tasks():
    assert gradients.choose("auto", 2, shared_input=False) == "share"
    assert gradients.choose("auto", 2, shared_input=True) == "unrolled"
    assert gradients.choose("auto", 40, shared_input=True) == "loop"
    assert gradients.choose("vectorized", 40, shared_input=True) == "vectorized"


def test_unknown_or_unsuitable_strategies_are_refused():
    with pytest.raises(ValueError, match=r"Unknown strategy .*'fast'.*'unrolled'"):
        gradients.choose("fast", 2, shared_input=True)
    with pytest.raises(ValueError, match=r"='share'. needs a batch with separate inputs"):
        gradients.choose("share", 2, shared_input=True)


def test_operations_that_cannot_be_vectorized_raise_a_clear_error():
    scale = tf.Variable(0.5)

    @tf.function
    def losses():
        with tf.GradientTape(persistent=True) as tape:
            _, found = keras.ops.scan(
                lambda c, x: (tf.tanh(c * scale + x),) * 2, tf.constant(0.0), tf.range(3.0)
            )
            stacked = tf.stack([found[-1], found[-2]])
            each = tf.unstack(stacked)
        return gradients.per_task(tape, each, stacked, [scale], [[], []], "vectorized")[0]

    with pytest.raises(ValueError, match=r"cannot vectorize.*'unrolled', 'loop' or 'auto'"):
        losses()
