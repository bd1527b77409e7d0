"""PCGrad and GradVac on the Gramian equal implementations on the gradients themselves."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from mtk.combiners import stateless_random
from tests.combiners import samples
from tests.combiners.cases import Case, Runner


def orders(seed: int, step: int, num_tasks: int) -> np.ndarray:
    return stateless_random.orders(np.array([seed, step], np.int64), num_tasks).numpy()


def pcgrad(rows: np.ndarray, orders: np.ndarray) -> np.ndarray:
    total = np.zeros_like(rows[0])
    for i, order in enumerate(orders):
        altered = rows[i].copy()
        for j in order:
            product = altered @ rows[j]
            if j != i and product < 0:
                altered -= product / (rows[j] @ rows[j]) * rows[j]
        total += altered
    return total / len(rows)


def gradvac(
    rows: np.ndarray, orders: np.ndarray, targets: np.ndarray, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    total, targets = np.zeros_like(rows[0]), targets.copy()
    for i, order in enumerate(orders):
        altered = rows[i].copy()
        for j in order:
            if j == i:
                continue
            own, other = np.linalg.norm(altered), np.linalg.norm(rows[j])
            cosine, target = altered @ rows[j] / (own * other), targets[i, j]
            if cosine < target:
                up = own * (target * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - target**2))
                altered += up / (other * np.sqrt(1 - target**2)) * rows[j]
            targets[i, j] = (1 - beta) * target + beta * cosine
        total += altered
    return total / len(rows), targets


@functools.cache
def drawn_pcgrad(num_tasks: int) -> Runner:
    return Runner(Case("", lambda: combiners.PCGrad(seed=11)), num_tasks)


@functools.cache
def drawn_gradvac(num_tasks: int) -> Runner:
    return Runner(Case("", lambda: combiners.GradVac(beta=0.3, seed=11)), num_tasks)


@pytest.mark.parametrize("num_tasks", [2, 3, 8])
@pytest.mark.parametrize("kind", ["aligned", "conflicting", "opposed", "spread"])
def test_pcgrad(kind, num_tasks):
    run = drawn_pcgrad(num_tasks)
    run.restart()
    for step in range(4):
        rows = samples.jacobian(kind, num_tasks, seed=step).astype(np.float64)
        expected = pcgrad(rows, orders(11, step, num_tasks))
        found = run.again(rows).direction
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(rows).max())


def test_pcgrad_does_not_project_a_gradient_on_itself():
    """Pitfall: j = i included. At these angles the projected first gradient opposes itself."""
    angles = np.deg2rad([0, 100, 185])
    rows = np.zeros((3, 12))
    rows[:, :2] = np.stack([np.cos(angles), np.sin(angles)], 1)
    run = Runner(Case("", lambda: combiners.PCGrad(seed=2)), 3)
    for step in range(30):
        expected = pcgrad(rows, orders(2, step, 3))
        np.testing.assert_allclose(run.again(rows).direction, expected, atol=1e-5)


@pytest.mark.parametrize("num_tasks", [2, 3, 8])
@pytest.mark.parametrize("kind", ["aligned", "conflicting", "opposed"])
def test_gradvac(kind, num_tasks):
    run = drawn_gradvac(num_tasks)
    run.restart()
    targets = np.zeros((num_tasks, num_tasks))
    for step in range(4):
        rows = samples.jacobian(kind, num_tasks, seed=step).astype(np.float64)
        expected, targets = gradvac(rows, orders(11, step, num_tasks), targets, 0.3)
        found = run.again(rows).direction
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(rows).max())
        np.testing.assert_allclose(run.combiner.targets[0], targets, atol=1e-5)


def test_gradvac_by_layer_treats_layers_separately():
    num_tasks = 3
    run = Runner(Case("", lambda: combiners.GradVac(0.3, groups="layer", seed=11)), num_tasks)
    targets = np.zeros((2, num_tasks, num_tasks))
    for step in range(3):
        rows = samples.jacobian("conflicting", num_tasks, seed=step).astype(np.float64)
        found = run.again(rows).direction
        for layer, part in enumerate((slice(0, 6), slice(6, 12))):
            expected, targets[layer] = gradvac(
                rows[:, part], orders(11, step, num_tasks), targets[layer], 0.3
            )
            np.testing.assert_allclose(found[part], expected, atol=1e-4)


LAYERS = ["one/kernel", "two/kernel", "three/kernel", "three/bias"]


def test_gradvac_by_layer_when_layers_are_frozen_and_unfrozen():
    """Targets of a frozen layer are kept; each layer gets what it would get alone."""
    combiner = combiners.GradVac(0.3, groups="layer", seed=11)
    combiner.bind("abc", LAYERS)
    combiner.build(3)
    targets = {"one": np.zeros((3, 3)), "two": np.zeros((3, 3))}
    rows = {
        layer: samples.jacobian("conflicting", 3, seed).astype(np.float64)
        for seed, layer in enumerate(targets)
    }
    for step, shared in enumerate((["two"], ["two", "one"], ["one"], ["one", "two"])):
        combiner.bind("abc", [f"{layer}/kernel" for layer in shared])
        combined, _ = combiner([rows[layer] for layer in shared], np.ones(3))
        for layer, found in zip(shared, combined, strict=True):
            order = orders(11, step, 3)
            expected, targets[layer] = gradvac(rows[layer], order, targets[layer], 0.3)
            np.testing.assert_allclose(found, expected, atol=1e-4)
        known = np.stack([*targets.values(), np.zeros((3, 3))])
        np.testing.assert_allclose(combiner.targets, known, atol=1e-5)


def test_gradvac_by_layer_refuses_a_layer_without_targets():
    combiner = combiners.GradVac(groups="layer")
    combiner.bind("ab", ["two/kernel"])
    combiner.build(2)
    with pytest.raises(ValueError, match=r"layers \['one'\] have no targets.*for \['two'\]"):
        combiner.bind("ab", ["one/kernel", "two/kernel"])
    # The whole model is one vector, whatever its layers.
    whole = combiners.GradVac()
    whole.bind("ab", ["two/kernel"])
    whole.build(2)
    whole.bind("ab", ["one/kernel", "two/kernel"])


def test_gradvac_learns_targets_without_conflict():
    """Pitfall: targets are only updated where gradients conflict."""
    rows = np.array([[1.0, 0.0] * 6, [1.0, 1.0] * 6])
    run = Runner(Case("", lambda: combiners.GradVac(beta=0.5)), 2)
    run.again(rows)
    np.testing.assert_allclose(run.combiner.targets[0, 0, 1], 0.5 * np.sqrt(0.5), rtol=1e-5)


def test_first_step_of_gradvac_equals_pcgrad():
    rows = samples.jacobian("conflicting", 5)
    first = Runner(Case("", lambda: combiners.GradVac(seed=5)), 5)(rows)
    same = Runner(Case("", lambda: combiners.PCGrad(seed=5)), 5)(rows)
    np.testing.assert_allclose(first.weights, same.weights, rtol=1e-5)


def test_gradvac_stays_bounded_when_targets_reach_one():
    rows = np.tile(samples.jacobian("aligned", 2)[:1], (2, 1))
    run = Runner(Case("", lambda: combiners.GradVac(beta=1.0)), 2)
    run.again(rows)
    conflict = np.stack([rows[0], -rows[0] + 0.1])
    assert np.abs(run.again(conflict).weights).max() < 100


def test_orders_are_random_for_each_gradient_and_step():
    """Pitfalls: orders that are never shuffled, or one order for all gradients."""
    draw = tf.function(lambda step: stateless_random.orders(tf.stack([0, step]), 4))
    drawn = np.stack([draw(step) for step in tf.range(2000, dtype=tf.int64)])
    np.testing.assert_array_equal(np.sort(drawn, -1), np.broadcast_to(np.arange(4), drawn.shape))
    assert (drawn[:, 0] != drawn[:, 1]).any(-1).mean() > 0.9
    assert (drawn[1:] != drawn[:-1]).any(-1).mean() > 0.9
    # Each task is first in a quarter of the orders: 4 standard deviations are 0.04.
    for row in range(4):
        shares = np.bincount(drawn[:, row, 0], minlength=4) / 2000
        np.testing.assert_allclose(shares, 0.25, atol=0.04)


@pytest.mark.parametrize("make", [combiners.PCGrad, combiners.GradVac])
def test_heads_are_not_projected(make):
    """Pitfall: heads in the projection. Each gets its own gradient / K despite conflicts."""
    run = Runner(Case("", make), 3)
    weights = run(samples.jacobian("opposed", 3)).weights
    assert np.abs(weights - 1 / 3).min() > 0.05
    heads = run.combiner.head_weights(weights, np.array([True, True, True]))
    np.testing.assert_allclose(heads, [1 / 3, 1 / 3, 1 / 3])
