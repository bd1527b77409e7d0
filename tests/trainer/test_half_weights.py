"""A combiner that returns equal weights trains like static weights, whatever it reads.

Each kind of combiner with each kind of network:

    python -m pytest -m slow -n 2 tests/trainer/test_half_weights.py
"""

import functools

import keras
import pytest
import tensorflow as tf

import mtk
from mtk.combiners import Combined, Combiner, GramianCombiner, LossCombiner
from mtk.gradients import weighted_sum
from tests.trainer import zoo

EPOCHS = 10  # Of five batches each.


def equal(present):
    mask = tf.cast(present, tf.float32)
    return mask / tf.reduce_sum(mask)


class ByGramian(GramianCombiner):
    def task_weights(self, gramian, task_losses, present):
        return equal(present)


class ByLosses(LossCombiner):
    def task_weights(self, task_losses, present, counts):
        return equal(present)


class ByGradients(Combiner):
    """Reads the task gradients."""

    reads = "gradients"

    def call(self, task_gradients, task_losses, present, counts):
        weights = equal(present)
        return Combined(weighted_sum(task_gradients, weights), weights)


VARIANTS = {
    "gramian": (ByGramian, 1),
    "every_second": (lambda: ByGramian(update_every=2), 1),
    "losses": (ByLosses, 1),
    "gradients": (ByGradients, 1),
    "representation": (lambda: ByGramian(at="representation"), 1),
    "last_layer": (lambda: ByGramian(at="last_layer"), 1),
    "gramian in parts": (ByGramian, 2),
    "every_second in parts": (lambda: ByGramian(update_every=2), 2),
    "losses in parts": (ByLosses, 2),
    "representation in parts": (lambda: ByGramian(at="representation"), 2),
}

# `test_edges_of_models.py` covers the last layer, `numerics/test_micro_batches.py` other
# micro-batches, `test_step.py` weights that are updated every few steps.
QUICK = ["representation in parts"]


def fits(kind, variant):
    return (kind.parts or "parts" not in variant) and (
        kind.features or "representation" not in variant
    )


def trained(kind, combiner, micro_batches):
    problem = zoo.build(kind)
    watched = zoo.variables(problem.network)
    model = mtk.MultiTaskModel(problem.network, problem.tasks, combiner)
    model.compile(keras.optimizers.Adam(0.01), micro_batches=micro_batches)
    model.fit(problem.x, problem.y, batch_size=zoo.BATCH, epochs=EPOCHS, shuffle=False, verbose=0)
    trainable = {id(v) for v in problem.network.trainable_variables}
    # State that layers update in micro-batches may be a mean over them.
    return [v.numpy() for v in watched if micro_batches == 1 or id(v) in trainable]


@functools.lru_cache(maxsize=1)
def static(kind):
    return trained(kind, mtk.combiners.StaticWeights(), 1)


@pytest.mark.parametrize(
    ("kind", "variant"), zoo.each_way_once(list(VARIANTS), fits, quick=QUICK, on_each=2)
)
def test_fifty_steps_of_adam_equal_static_weights(kind, variant):
    make, micro_batches = VARIANTS[variant]
    # Micro-batches are compared with the whole batch, too.
    expected = static(kind)
    if micro_batches > 1:
        trainable = zoo.build(kind).network.trainable_variables
        expected = expected[: len(trainable)]
    zoo.assert_close(trained(kind, make(), micro_batches), expected, 1e-6)
