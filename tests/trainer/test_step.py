"""A step equals its formulas: combine, L2, clip, apply; moving statistics are updated once."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtk
from mtk.combiners import (
    FAMO,
    IMTLG,
    IMTLL,
    MGDA,
    RLW,
    CAGrad,
    GradDrop,
    GradNorm,
    PCGrad,
    StaticWeights,
    UncertaintyWeights,
)
from mtk.trainer import structure
from tests import networks
from tests.combiners.cases import CASES
from tests.gradients.test_strategies import plain_losses
from tests.quick import slow, some

RATE = 0.1
BY_NAME = {case.name: case for case in CASES}


def model_of(network, combiner=None, **compiled):
    keras.utils.set_random_seed(3)
    model = mtk.MultiTaskModel(network, networks.tasks(), combiner)
    model.compile(keras.optimizers.SGD(RATE), **compiled)
    return model


def steps(model, data, number=1):
    model.fit(tf.data.Dataset.from_tensors(data).repeat(number), verbose=0)


def change(network, run):
    before = [v.numpy() for v in network.trainable_variables]
    run()
    after = [v.numpy() for v in network.trainable_variables]
    return [(b - a) / RATE for b, a in zip(before, after, strict=True)]


LOSS_COMBINERS = [
    name
    for name, case in BY_NAME.items()
    if (made := case.make()).reads == "losses" and not made.scales_whole_losses
]


@pytest.mark.parametrize("name", some([case.name for case in CASES], LOSS_COMBINERS))
def test_structure_is_analyzed_before_a_step_is_traced(name, monkeypatch):
    """The analysis traces a function, which is impossible inside a step on replicas."""
    find, inside = structure.find, []

    def noted(*args):
        inside.append(tf.inside_function())
        return find(*args)

    monkeypatch.setattr(structure, "find", noted)
    data = networks.batch("dense")
    tasks = [mtk.Task(each.name, each.loss, missing=each.missing) for each in networks.tasks()]
    model = mtk.MultiTaskModel(networks.dense(), tasks, BY_NAME[name].make())
    model.compile("sgd")
    steps(model, data)
    assert not any(inside)


LIMITS = list(itertools.product([False, True], [0.0, 0.7], [None, 0.3]))


@pytest.mark.parametrize(
    ("measured", "weight_decay", "clip_norm"),
    some(LIMITS, [(True, 0.7, 0.3)]),
)
def test_l2_is_added_before_clipping(measured, weight_decay, clip_norm):
    network, data = networks.dense(), networks.batch("dense")
    with tf.GradientTape() as tape:
        total = tf.tensordot(tf.constant([0.5, 0.3, 0.2]), plain_losses(network, data), 1)
    variables = [v.value for v in network.trainable_variables]
    expected = [
        g + weight_decay * v
        for g, v in zip(tape.gradient(total, variables), variables, strict=True)
    ]
    if clip_norm:
        norm = np.sqrt(sum(np.sum(np.square(g)) for g in expected))
        assert norm > clip_norm
        expected = [g * clip_norm / norm for g in expected]
    # `plain_losses` changed the moving statistics of batch norm, which training does not read.
    limits = {"weight_decay": weight_decay, "clip_norm": clip_norm}
    model = model_of(network, StaticWeights([5, 3, 2]), run_eagerly=measured, **limits)
    model.gradient_schedule.diagnostics_every = 1 if measured else None
    found = change(network, lambda: steps(model, data))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)


def test_head_gradients_are_divided_by_the_number_of_tasks_present():
    network, data = networks.dense(), networks.batch("dense")
    x, y, mask = data
    absent = (x, y, {"right": tf.zeros_like(mask["right"])})
    with tf.GradientTape() as tape:
        left = plain_losses(network, data)[0]
    expected = tape.gradient(left, network.get_layer("left").kernel.value)
    model = model_of(network, PCGrad())
    before = network.get_layer("left").kernel.numpy()
    steps(model, absent)
    found = (before - network.get_layer("left").kernel.numpy()) / RATE
    np.testing.assert_allclose(found, expected / 2, atol=2e-6)
    assert model.last_weights.numpy()[1] == 0
    assert model.last_gramian.numpy()[1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "combiner",
    [
        slow(StaticWeights()),
        slow(MGDA()),
        MGDA(at="representation"),
        slow(GradDrop()),
        slow(GradDrop(at="representation")),
    ],
    ids=lambda c: f"{type(c).__name__}-{c.at}",
)
def test_regularizers_of_the_network_count_once(combiner):
    """Between two runs that differ only in an L2 regularizer, the step differs by its gradient."""
    found = {}
    for factor in (0.0, 0.05):
        keras.utils.set_random_seed(1)
        network = networks.dense()
        if factor:
            network.get_layer("trunk").kernel.regularizer = keras.regularizers.L2(factor)
        fresh = type(combiner).from_config(combiner.get_config())
        # One step takes less time than tracing it.
        model = model_of(network, fresh, run_eagerly=True)
        kernel = network.get_layer("trunk").kernel.numpy()
        found[factor] = change(network, lambda: steps(model, networks.batch("dense")))[0]
    np.testing.assert_allclose(found[0.05] - found[0.0], 0.1 * kernel, atol=3e-6)


def test_moving_statistics_are_updated_once_by_the_mean_over_sub_batches():
    network = networks.dense()
    data = {}
    for seed, name in enumerate(networks.TASKS):
        x, y, _ = networks.batch("dense", seed=seed)
        data[name] = (x, y[name])
    norm = network.get_layer("norm")
    before = norm.moving_mean.numpy()
    trunk = network.get_layer("trunk")
    means = [tf.reduce_mean(trunk(x), 0).numpy() for x, _ in data.values()]
    steps(model_of(network, PCGrad()), data)
    expected = before * 0.99 + 0.01 * np.mean(means, axis=0)
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected, atol=1e-6)


def seeds(network):
    return [v.numpy() for v in network.non_trainable_variables if "seed" in v.path]


@pytest.mark.slow
def test_second_forward_pass_reuses_masks_and_changes_no_state():
    """At a learning rate of zero FAMO measures equal losses: its logits do not change."""
    network, data = networks.dense(dropout=0.5), networks.batch("dense")
    model = mtk.MultiTaskModel(network, networks.tasks(), FAMO(decay=0.0))
    model.compile(keras.optimizers.SGD(0.0))
    before = seeds(network)
    steps(model, data, 3)
    np.testing.assert_array_equal(model.combiner.logits.numpy(), [0, 0, 0])
    np.testing.assert_array_equal(seeds(network)[0], before[0] + [0, 3])
    norm = network.get_layer("norm")
    features = network.get_layer("trunk")(data[0])
    expected = tf.reduce_mean(features, 0) * (1 - 0.99**3)
    np.testing.assert_allclose(norm.moving_mean.numpy(), expected, atol=1e-6)


def test_dropout_draws_a_new_mask_for_each_step_and_sub_batch():
    network = networks.dense(dropout=0.5)
    data = {}
    x, y, _ = networks.batch("dense")
    for name in networks.TASKS:
        data[name] = (x, y[name])
    before = seeds(network)
    steps(model_of(network, PCGrad()), data, 2)
    np.testing.assert_array_equal(seeds(network)[0], before[0] + [0, 6])


def test_weights_are_updated_every_n_steps():
    network, data = networks.dense(), networks.batch("dense")
    model = model_of(network, IMTLG(update_every=3))
    seen = []
    for _ in range(7):
        steps(model, data)
        seen.append((int(model.last_measured.numpy()), model.last_weights.numpy()))
    assert [measured for measured, _ in seen] == [1, 1, 1, 4, 4, 4, 7]
    np.testing.assert_allclose(seen[0][1], seen[2][1], atol=1e-6)
    assert np.abs(seen[2][1] - seen[3][1]).max() > 1e-6


def test_diagnostic_step_of_static_weights_measures_the_gramian():
    network, data = networks.dense(), networks.batch("dense")
    with tf.GradientTape(persistent=True) as tape:
        losses = plain_losses(network, data)
    parts = [network.get_layer(name).trainable_variables for name in ("trunk", "norm")]
    shared = [v.value for part in parts for v in part]
    rows = tape.jacobian(losses, shared, experimental_use_pfor=False)
    matrix = np.concatenate([tf.reshape(row, (3, -1)) for row in rows], axis=1)
    model = model_of(network, run_eagerly=True)
    model.gradient_schedule.diagnostics_every = 2
    model.optimizer.learning_rate = 0.0
    steps(model, data)
    assert model.last_measured.numpy() == -1
    steps(model, data)
    assert model.last_measured.numpy() == 2
    np.testing.assert_allclose(model.last_gramian.numpy(), matrix @ matrix.T, rtol=1e-4, atol=1e-6)


@functools.cache
@functools.cache
def after_four_steps(combiner, **compiled):
    keras.utils.set_random_seed(5)
    network = networks.dense()
    steps(model_of(network, combiner(), **compiled), networks.batch("dense"), 4)
    return network.get_weights()


# `combiners/test_contract.py` compiles every solver with XLA.
@pytest.mark.parametrize(
    ("combiner", "options"),
    [
        slow((StaticWeights, {"steps_per_execution": 2})),
        (IMTLG, {"run_eagerly": True}),
        (IMTLG, {"steps_per_execution": 2}),
        (IMTLG, {"jit_compile": True}),
        slow((MGDA, {"run_eagerly": True})),
        slow((MGDA, {"steps_per_execution": 2})),
        slow((CAGrad, {"jit_compile": True})),
    ],
)
def test_eager_xla_and_steps_per_execution_give_the_same_weights(combiner, options):
    results = (after_four_steps(combiner), after_four_steps(combiner, **options))
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.slow
def test_loss_scaling_does_not_change_the_step():
    results = []
    for scaled in (False, True):
        keras.utils.set_random_seed(5)
        network = networks.dense()
        model = mtk.MultiTaskModel(network, networks.tasks(), IMTLG())
        optimizer = keras.optimizers.SGD(RATE)
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**10)
        model.compile(optimizer, run_eagerly=not scaled)
        steps(model, networks.batch("dense"), 3)
        results.append([*network.get_weights(), model.last_gramian.numpy()])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


def test_representation_needs_a_shared_input():
    x, y, _ = networks.batch("dense")
    model = model_of(networks.dense(), MGDA(at="representation"))
    with pytest.raises(ValueError, match="tasks that share their input"):
        steps(model, {name: (x, y[name]) for name in networks.TASKS})


@pytest.mark.slow
def test_representation_gramian_equals_jacobian_of_the_features():
    network, data = networks.dense(dropout=0.0), networks.batch("dense")
    norm = network.get_layer("norm")
    features = norm(network.get_layer("trunk")(data[0]), training=True)
    heads = {name: network.get_layer(name) for name in networks.TASKS}
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)

        def apply(_, training):
            return {name: head(features) for name, head in heads.items()}

        losses = plain_losses(apply, data)
    rows = tape.jacobian(losses, features, experimental_use_pfor=False)
    rows = tf.reshape(rows, (3, -1)).numpy()
    model = model_of(network, MGDA(at="representation"), run_eagerly=True)
    steps(model, data)
    np.testing.assert_allclose(model.last_gramian.numpy(), rows @ rows.T, rtol=1e-4, atol=1e-7)


def test_mixed_batch_is_one_loss_over_all_examples():
    """Proportional sampling: the step is that of the mean over the batch."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.integers(0, 3, 8).astype("int32")
    inputs = keras.Input((6,))
    network = keras.Model(inputs, keras.layers.Dense(3, name="out")(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, network(x)))
    expected = tape.gradient(value, network.trainable_variables)
    tasks = [mtk.Task(name, loss, ["accuracy"]) for name in ("fr", "de")]
    model = mtk.MultiTaskModel(network, tasks, mtk.combiners.ProportionalSampling())
    model.compile(keras.optimizers.SGD(RATE))
    data = (tf.constant(x), tf.constant(y), tf.constant([0, 0, 0, 1, 1, 1, 1, 1]))
    found = change(network, lambda: steps(model, data))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)
    np.testing.assert_allclose(model.last_weights.numpy(), [3 / 8, 5 / 8])


@pytest.mark.parametrize(
    "combiner",
    [
        slow(RLW()),
        slow(UncertaintyWeights()),
        GradNorm(),
        slow(MGDA()),
        MGDA(at="representation"),
        slow(FAMO()),
        slow(IMTLL()),
    ],
    ids=lambda c: f"{type(c).__name__}-{c.at}",
)
def test_step_is_the_gradient_of_the_weighted_losses_only(combiner):
    """Neither GradNorm's own loss nor the learning of weights adds to the network's gradient."""
    network, data = networks.dense(), networks.batch("dense")
    with tf.GradientTape(persistent=True) as tape:
        losses = plain_losses(network, data)
    variables = [v.value for v in network.trainable_variables]
    model = model_of(network, combiner, run_eagerly=True)
    found = change(network, lambda: steps(model, data))
    weights = tf.constant(model.last_weights.numpy())
    assert weights.numpy().min() >= 0
    expected = tape.gradient(losses, variables, output_gradients=weights)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, atol=5e-6)


LEARNED = [UncertaintyWeights, IMTLL, GradNorm, FAMO]


@pytest.mark.parametrize("combiner", some(LEARNED, LEARNED[2:3]))
def test_weight_decay_does_not_apply_to_learned_weights(combiner):
    """At a learning rate of zero only the decay could make two runs differ."""
    learned = []
    for weight_decay in (0.0, 100.0):
        keras.utils.set_random_seed(6)
        model = mtk.MultiTaskModel(networks.dense(), networks.tasks(), combiner())
        model.compile(keras.optimizers.SGD(0.0), weight_decay=weight_decay, run_eagerly=True)
        steps(model, networks.batch("dense"), 4)
        learned.append([v.numpy() for v in model.combiner.variables])
    for one, two in zip(*learned, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize(
    "combiner", [PCGrad(), slow(MGDA(at="representation"))], ids=lambda c: c.at
)
def test_all_tasks_see_one_dropout_mask(combiner):
    network = networks.dense(dropout=0.5)
    before = seeds(network)[0]
    eagerly = combiner.at == "representation"
    steps(model_of(network, combiner, run_eagerly=eagerly), networks.batch("dense"))
    np.testing.assert_array_equal(seeds(network)[0] - before, [0, 1])
