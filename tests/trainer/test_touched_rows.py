"""Sparse task gradients of embeddings, with only the rows that are read, equal dense ones."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk import gradients
from mtk.combiners import CAGrad, GradDrop, GradVac, PCGrad
from mtk.trainer import backward
from tests.quick import slow, some

TASKS = ("fr", "de", "zh")
VOCABULARY = 50


def network():
    words, marks = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 6, name="words")(words)
    x += keras.layers.Embedding(VOCABULARY, 6, name="marks")(marks)
    x = keras.layers.Dense(4, activation="tanh")(keras.layers.GlobalAveragePooling1D()(x))
    return keras.Model((words, marks), keras.layers.Dense(3)(x))


def sub_batches(seed: int):
    """Returns sentences with repeated words, within a task and between tasks."""
    rng = np.random.default_rng(seed)
    words = {task: rng.integers(1, 9, (2, 4, 5)).astype("int32") for task in TASKS}
    return {task: ((w[0], w[1]), w[0, :, 0] % 3) for task, w in words.items()}


def trained(combiner, sparse: bool, monkeypatch):
    """Trains three steps; returns the number of sparse embeddings, the Gramian and the weights."""
    seen = []
    plain = gradients._touched
    monkeypatch.setattr(gradients, "_touched", lambda *a: seen.append(1) or plain(*a))
    if not sparse:
        monkeypatch.setattr(backward, "_takes_whole_gradients", lambda spec: False)
    keras.utils.set_random_seed(4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = mtk.MultiTaskModel(network(), [mtk.Task(task, loss) for task in TASKS], combiner)
    model.compile(keras.optimizers.Adam(1e-2), weight_decay=1e-4, clip_norm=0.5)
    batches = tf.nest.map_structure(lambda *steps: np.stack(steps), *map(sub_batches, range(3)))
    model.fit(tf.data.Dataset.from_tensor_slices(batches), verbose=0, shuffle=False)
    gramian = model.last_gramian.numpy()
    monkeypatch.undo()
    return len(seen), gramian, [v.numpy() for v in model.network.trainable_variables]


@pytest.mark.parametrize("combiner", some([PCGrad, CAGrad], [PCGrad]))
def test_training_with_sparse_gradients_equals_dense_gradients(combiner, monkeypatch):
    number, gramian, values = trained(combiner(), True, monkeypatch)
    none, known_gramian, known = trained(combiner(), False, monkeypatch)
    assert (number, none) == (2, 0)
    np.testing.assert_allclose(gramian, known_gramian, rtol=1e-5)
    for value, other in zip(values, known, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("combiner", [GradDrop, slow(partial(GradVac, groups="layer"))])
def test_combiners_that_change_gradients_get_dense_gradients(combiner, monkeypatch):
    assert trained(combiner(), True, monkeypatch)[0] == 0


def test_sparse_gradients_are_the_nonzero_rows_of_dense_gradients():
    table = tf.Variable(tf.random.stateless_normal((7, 3), [1, 2]))
    words = [tf.constant([1, 4, 1]), tf.constant([4, 6]), tf.constant([0, 0])]
    with tf.GradientTape(persistent=True) as tape:
        losses = [tf.reduce_sum(tf.gather(table, w) ** 3) for w in words]
        stacked = tf.stack(losses)
    heads = [[], [], []]
    (whole,), _ = gradients.per_task(tape, losses, stacked, [table], heads, "unrolled")
    (rows,), _ = gradients.per_task(tape, losses, stacked, [table], heads, "unrolled", sparse=True)
    assert sorted(rows.indices.numpy()) == [0, 1, 4, 6]
    np.testing.assert_allclose(rows.values, tf.gather(whole, rows.indices, axis=1), rtol=1e-6)
    np.testing.assert_allclose(gradients.gramian([rows]), gradients.gramian([whole]), rtol=1e-6)
    weights = tf.constant([0.5, 2.0, -1.0])
    (found,) = gradients.weighted_sum([rows], weights)
    np.testing.assert_allclose(
        tf.convert_to_tensor(found), gradients.weighted_sum([whole], weights)[0], rtol=1e-6
    )
