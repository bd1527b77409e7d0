"""Combiners that wrap others, compared with NumPy implementations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mtk import MultiTaskModel, combiners
from tests import networks
from tests.combiners import samples
from tests.combiners.cases import Case, Runner

EVERYONE = np.ones(3, bool)


def bound(combiner, num_tasks=3):
    combiner.bind([f"task{k}" for k in range(num_tasks)], ["one/kernel", "two/kernel"])
    combiner.build(num_tasks)
    return combiner


def weights_of(combiner, rows, present=EVERYONE, losses=None):
    gramian = tf.constant(rows @ rows.T, tf.float32)
    losses = tf.ones(len(rows)) if losses is None else tf.constant(losses, tf.float32)
    return combiner.new_weights(gramian, losses, tf.constant(present)).numpy()


def jacobians(number, num_tasks=3):
    return [samples.jacobian("conflicting", num_tasks, seed) for seed in range(number)]


def test_cr_mogm_is_the_moving_average():
    wrapped, alone = bound(combiners.CRMOGM(combiners.MGDA(), 0.7)), bound(combiners.MGDA())
    average = np.full(3, 1 / 3)
    for rows in jacobians(4):
        average = 0.7 * average + 0.3 * weights_of(alone, rows)
        np.testing.assert_allclose(weights_of(wrapped, rows), average, rtol=1e-5)
    kept = wrapped.cached_weights(tf.constant(EVERYONE))
    np.testing.assert_allclose(kept, average, rtol=1e-5)


def test_cr_mogm_of_losses():
    wrapped, alone = bound(combiners.CRMOGM(combiners.GLS(), 0.5)), bound(combiners.GLS())
    average = np.full(3, 1 / 3)
    for seed in range(3):
        losses = tf.constant(samples.losses(3, seed))
        given = losses, tf.constant(EVERYONE), tf.ones(3)
        average = 0.5 * average + 0.5 * alone.task_weights(*given).numpy()
        np.testing.assert_allclose(wrapped.task_weights(*given), average, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        combiners.MGDA,
        combiners.NashMTL,
        lambda: combiners.NashMTL("mean"),
        combiners.IMTL,
        lambda: combiners.DBMTL(beta=0.0),
    ],
)
def test_cr_mogm_tends_to_the_weights_of_gradients_and_heads(make):
    """With `max_norm` Nash-MTL clips the first gradients to a hundredth, and no head."""
    wrapped, alone = bound(combiners.CRMOGM(make(), 0.2)), bound(make())
    present = tf.constant([True, True, False])
    rows = 100 * jacobians(1)[0]
    for _ in range(20):
        expected, found = (weights_of(each, rows, present) for each in (alone, wrapped))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    heads, own = (each.head_weights(tf.constant(found), present) for each in (wrapped, alone))
    np.testing.assert_allclose(heads, own, rtol=1e-5)
    # Larger gradients are clipped more, which does not affect head weights.
    rows, before = 1000 * rows, heads.numpy()
    alone_now, now = (weights_of(each, rows, present) for each in (alone, wrapped))
    heads = wrapped.head_weights(tf.constant(now), present).numpy()
    own = alone.head_weights(tf.constant(alone_now), present).numpy()
    assert (heads <= 1.001 * np.maximum(own, before)).all()


def test_warm_up_is_static_weights_and_then_a_new_method():
    first = {"task0": 1, "task1": 2, "task2": 1}
    wrapped = bound(combiners.WarmUp(combiners.GradNorm(), 2, first))
    alone = bound(combiners.GradNorm())
    given = jacobians(5)
    for rows in given[:2]:
        np.testing.assert_allclose(weights_of(wrapped, rows), [0.25, 0.5, 0.25])
        # As with static weights.
        heads = wrapped.head_weights(tf.constant([0.25, 0.5, 0.25]), tf.constant(EVERYONE))
        np.testing.assert_allclose(heads, [0.25, 0.5, 0.25])
    for rows in given[2:]:
        np.testing.assert_array_equal(weights_of(wrapped, rows), weights_of(alone, rows))


def test_warm_up_takes_no_gradients():
    wrapped = combiners.WarmUp(combiners.UPGrad(update_every=4), 3)
    taken = [step for step in range(13) if wrapped.takes_gradients_at(step)]
    assert taken == [3, 4, 8, 12]
    bound(wrapped)
    for _ in range(3):
        kept = wrapped.cached_weights(tf.constant(EVERYONE))
        np.testing.assert_allclose(kept, 1 / 3, rtol=1e-6)
    assert int(wrapped.step) == 3


def test_every_equals_update_every():
    trained = []
    for combiner in (combiners.Every(combiners.IGN(), 2), combiners.IGN(update_every=2)):
        keras.utils.set_random_seed(0)
        model = MultiTaskModel(networks.dense(), networks.tasks(), combiner)
        model.compile(keras.optimizers.SGD(0.1))
        x, y, mask = networks.batch("dense")
        model.fit(x, y, sample_weight=mask, batch_size=8, epochs=2, shuffle=False, verbose=0)
        trained.append([v.numpy() for v in model.network.variables])
    for one, two in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, two)


def test_every_wraps_others_and_is_wrapped_by_a_warm_up():
    inside = combiners.Every(combiners.CRMOGM(combiners.UPGrad(), 0.5), 3)
    wrapped = combiners.WarmUp(inside, 2)
    assert [step for step in range(10) if wrapped.takes_gradients_at(step)] == [2, 3, 6, 9]
    alone = bound(combiners.CRMOGM(combiners.UPGrad(), 0.5))
    bound(inside)
    for rows in jacobians(2):
        found = weights_of(inside, rows)
        np.testing.assert_array_equal(found, weights_of(alone, rows))
        np.testing.assert_allclose(inside.cached_weights(tf.constant(EVERYONE)), found, rtol=1e-6)


def test_finished_warm_up_does_not_restart_with_another_optimizer():
    model = MultiTaskModel(
        networks.dense(), networks.tasks(), combiners.WarmUp(combiners.UPGrad(), 2)
    )
    data = tf.data.Dataset.from_tensors(networks.batch("dense")).repeat(3)
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(data, verbose=0)
    model.compile(keras.optimizers.SGD(0.01))
    assert all(model._next_steps())


def test_warm_up_heads_follow_the_method_afterwards():
    wrapped = bound(combiners.WarmUp(combiners.UPGrad(), 1, [1, 2, 5]))
    rows = jacobians(1)[0]
    seen = []
    for _ in range(2):
        weights = weights_of(wrapped, rows)
        seen.append(wrapped.head_weights(tf.constant(weights), tf.constant(EVERYONE)))
    np.testing.assert_allclose(seen, [[1 / 8, 2 / 8, 5 / 8], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-6)


def test_subset_equals_the_method_on_the_chosen_tasks():
    wrapped, alone = bound(combiners.TaskSubset(combiners.UPGrad(), 2, seed=3), 5), {}
    rows = samples.jacobian("conflicting", 5)
    present = np.array([True, True, False, True, True])
    chosen_ones = set()
    for _ in range(12):
        told = np.sort(wrapped.chosen_tasks(tf.constant(present)).numpy())
        weights = weights_of(wrapped, rows, present)
        assert len(told) == 2
        assert present[told].all()
        key = tuple(told)
        alone[key] = bound(combiners.UPGrad(), 2)
        expected = np.zeros(5)
        expected[told] = weights_of(alone[key], rows[told], np.ones(2, bool))
        np.testing.assert_allclose(weights, expected, rtol=1e-4, atol=1e-6)
        heads = wrapped.head_weights(tf.constant(weights), tf.constant(present)).numpy()
        np.testing.assert_array_equal(heads, np.isin(np.arange(5), told) / 2)
        chosen_ones.add(key)
    assert len(chosen_ones) > 3


def test_subset_chooses_each_task_equally_often():
    combiner = bound(combiners.TaskSubset(combiners.IGN(), 2), 5)
    # Draws depend only on the counter.
    keys = [
        (combiner.random_keys.step.assign(step), combiner.random_keys.key())[1]
        for step in range(400)
    ]
    everyone = tf.ones(5, tf.bool)
    counts = np.bincount(
        np.concatenate([combiner._order(key, everyone)[:2].numpy() for key in keys]), minlength=5
    )
    # Five standard deviations.
    assert abs(counts - 160).max() < 5 * np.sqrt(400 * 0.4 * 0.6)


def test_subset_of_all_tasks_equals_the_method():
    combiner = bound(combiners.TaskSubset(combiners.MGDA(), 3))
    rows = jacobians(1)[0]
    assert combiner.chosen_tasks(tf.constant(EVERYONE)) is None
    expected = weights_of(bound(combiners.MGDA()), rows)
    np.testing.assert_array_equal(weights_of(combiner, rows), expected)


def test_unit_gradients_scale_all_to_the_mean_norm():
    rows = samples.jacobian("spread", 3).astype(float)
    lengths = np.linalg.norm(rows, axis=1)
    units = rows / lengths[:, None] * lengths.mean()
    inner = weights_of(bound(combiners.MGDA()), units)
    found = weights_of(bound(combiners.UnitGradients(combiners.MGDA())), rows)
    np.testing.assert_allclose(found @ rows, inner @ units, atol=1e-4 * lengths.mean())
    # A gradient that is ten times as long does not change the direction.
    longer = rows * [[1], [10], [1]]
    other = weights_of(bound(combiners.UnitGradients(combiners.MGDA())), longer) @ longer
    cosine = other @ (found @ rows) / np.linalg.norm(other) / np.linalg.norm(found @ rows)
    assert cosine == pytest.approx(1.0, abs=1e-5)


def test_per_layer_equals_the_method_on_each_layer():
    run = Runner(Case("", lambda: combiners.PerLayer(combiners.UPGrad())), 3)
    for kind in ("opposed", "spread"):
        rows = samples.jacobian(kind, 3)
        parts = [rows[:, :6], rows[:, 6:]]
        each = [weights_of(bound(combiners.UPGrad()), part) for part in parts]
        expected = np.concatenate([w @ part for w, part in zip(each, parts, strict=True)])
        found = run(rows)
        np.testing.assert_allclose(found.direction, expected, atol=1e-5 * np.abs(rows).max())
        np.testing.assert_allclose(found.weights, np.mean(each, 0), rtol=1e-4)
        # Without conflict in any layer there is none in total.
        size = np.linalg.norm(found.direction) * np.linalg.norm(rows, axis=1)
        assert (rows @ found.direction >= -1e-5 * size).all()


@pytest.mark.parametrize("groups", [["trunk", "nowhere"], ["trunk", "trunk/a"]])
def test_group_without_variables_is_refused(groups):
    combiner = combiners.PerLayer(combiners.MGDA(), groups=groups)
    combiner.bind(["a", "b"], ["trunk/a/kernel", "trunk/b/kernel", "head/kernel"])
    with pytest.raises(ValueError, match=rf"No variable belongs to .*{groups[1]}"):
        combiner.build(2)


def test_per_layer_by_groups():
    combiner = combiners.PerLayer(combiners.MGDA(), groups=["trunk/a", "trunk"])
    combiner.bind(["a", "b"], ["trunk/a/kernel", "trunk/b/kernel", "trunk/a/bias", "head/kernel"])
    combiner.build(2)
    assert combiner.known == ("trunk/a", "trunk", "")
    rows = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")
    found = combiner(list(rows), tf.ones(2)).gradients
    joint = weights_of(
        bound(combiners.MGDA(), 2), np.concatenate([rows[0], rows[2]], 1), EVERYONE[:2]
    )
    np.testing.assert_allclose(found[0], joint @ rows[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[2], joint @ rows[2], rtol=1e-4, atol=1e-6)


def test_wrappers_compose_and_are_serialized():
    make = combiners.WarmUp(
        combiners.TaskSubset(combiners.CRMOGM(combiners.UnitGradients(combiners.UPGrad()), 0.5), 2),
        2,
    )
    config = keras.saving.serialize_keras_object(make)
    copy = bound(keras.saving.deserialize_keras_object(config))
    bound(make)
    for rows in jacobians(4):
        np.testing.assert_array_equal(weights_of(copy, rows), weights_of(make, rows))


def test_combiner_wrapped_twice_is_copied():
    combiner = combiners.MGDA("l2")
    one, other = combiners.CRMOGM(combiner), combiners.UnitGradients(combiner)
    assert one.combiner is combiner
    assert other.combiner is not combiner
    assert other.combiner.normalization == "l2"


REFUSED = [
    (lambda: combiners.CRMOGM(combiners.MGDA), "CRMOGM must wrap a combiner.*MGDA"),
    (lambda: combiners.CRMOGM(combiners.GradDrop()), "GradDrop merges the gradients"),
    (lambda: combiners.TaskSubset(combiners.MGDA(), 1.5), "`number`.*1.5"),
    (lambda: combiners.WarmUp(combiners.MGDA(), "10"), "`steps`.*10"),
    (lambda: combiners.CRMOGM(combiners.TaskSubset(combiners.MGDA(), 2)), "outside"),
    (lambda: combiners.CRMOGM(combiners.MGDA(), 1.0), "`alpha`"),
    # `fit` asks the outermost wrapper which steps take gradients, and inner ones do not count.
    (lambda: combiners.CRMOGM(combiners.WarmUp(combiners.MGDA(), 2)), r"WarmUp\(CRMOGM"),
    (lambda: combiners.TaskSubset(combiners.WarmUp(combiners.MGDA(), 2), 2), r"WarmUp\(TaskSubset"),
    (lambda: combiners.WarmUp(combiners.WarmUp(combiners.MGDA(), 2), 2), "Use one"),
    (lambda: combiners.UnitGradients(combiners.CRMOGM(combiners.MGDA())), r"CRMOGM\(UnitGradients"),
    (
        lambda: combiners.PerLayer(combiners.TaskSubset(combiners.MGDA(), 2)),
        r"TaskSubset\(PerLayer",
    ),
    (lambda: combiners.WarmUp(combiners.MGDA(), 0), "`steps`"),
    (lambda: combiners.WarmUp(combiners.MGDA(), 5, [0, 0]), "non-zero sum"),
    (lambda: combiners.WarmUp(combiners.GradDrop(at="representation"), 5), "GradDrop.*features"),
    (lambda: combiners.TaskSubset(combiners.MGDA(), 0), "`number`"),
    (lambda: combiners.TaskSubset(combiners.MGDA(update_every=2), 2), "`update_every=1`"),
    (lambda: combiners.TaskSubset(combiners.FAMO(), 2), "FAMO"),
    (lambda: combiners.TaskSubset(combiners.GradDrop(at="representation"), 2), "GradDrop"),
    (lambda: combiners.Every(combiners.MGDA(), 0), "`steps`"),
    (
        lambda: combiners.Every(combiners.MGDA(update_every=2), 2),
        "already computes its weights every 2 steps",
    ),
    (
        lambda: combiners.Every(combiners.Every(combiners.MGDA(), 3), 2),
        "already computes its weights every 3 steps",
    ),
    (lambda: combiners.Every(combiners.FAMO(), 2), "FAMO reads losses"),
    (lambda: combiners.Every(combiners.GradDrop(), 2), "GradDrop reads gradients"),
    (lambda: combiners.Every(combiners.PerLayer(combiners.MGDA()), 2), "PerLayer.*changes"),
    (lambda: combiners.Every(combiners.TaskSubset(combiners.MGDA(), 2), 2), "one task subset"),
    (lambda: combiners.Every(combiners.WarmUp(combiners.MGDA(), 2), 2), r"WarmUp\(Every"),
    (lambda: combiners.TaskSubset(combiners.Every(combiners.MGDA(), 2), 2), "`update_every=1`"),
    (lambda: combiners.PerLayer(combiners.Every(combiners.MGDA(), 2)), "Wrap only the method.$"),
    (lambda: combiners.UnitGradients(combiners.FAMO()), "FAMO reads losses"),
    (lambda: combiners.UnitGradients(combiners.GradDrop()), "GradDrop reads gradients"),
    (lambda: combiners.PerLayer(combiners.DWA(5)), "DWA reads losses"),
    (lambda: combiners.PerLayer(combiners.GradVac(groups="layer")), "GradVac.*changes"),
    (lambda: combiners.PerLayer(combiners.PerLayer(combiners.MGDA())), "PerLayer.*changes"),
    (lambda: combiners.PerLayer(combiners.MGDA(at="last_layer")), "`at` or `update_every`"),
    (lambda: combiners.PerLayer(combiners.MGDA(), "trunk"), "`groups`"),
    (lambda: combiners.PerLayer(combiners.MGDA(), []), "`groups`"),
    (lambda: combiners.PerLayer("mgda"), "PerLayer must wrap a combiner"),
    (lambda: combiners.PerLayer(combiners.CRMOGM(combiners.MGDA())), "Wrap only the method.$"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_invalid_compositions(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_per_layer_needs_bind():
    combiner = combiners.PerLayer(combiners.MGDA())
    with pytest.raises(ValueError, match="Call `bind"):
        combiner([tf.ones((2, 3))], tf.ones(2))
    bound(combiner, 2)
    with pytest.raises(ValueError, match="three"):
        combiner.bind(["task0", "task1"], ["one/kernel", "three/kernel"])
