"""Degenerate problems, for which a method has no solution or an unusual one."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from tests.combiners import properties, samples
from tests.combiners.cases import runner
from tests.combiners.test_optimality import cagrad
from tests.quick import some


@pytest.mark.parametrize("num_tasks", some([2, 3, 5, 8], [5]))
def test_nash_and_fairgrad_without_solution_give_zero_weights(num_tasks):
    """Pitfall: equal weights if the solver fails, without a warning."""
    rows = samples.jacobian("conflicting", num_tasks)
    rows[-1] = -rows[:-1].sum(0)
    for name in ("nash", "nash unclipped", "nash mean", "nash paper", "fairgrad", "fairgrad 5"):
        np.testing.assert_array_equal(runner(name, num_tasks)(rows).weights, 0)


def test_mgda_is_exact_for_gradients_of_different_size():
    """Pitfall: the public solver ends at 0.999 and 0.001, or fails for large gradients."""
    rows = np.zeros((2, 12))
    rows[0, :2], rows[1, 0] = [1e4, 1e4], 1.0
    np.testing.assert_array_equal(runner("mgda", 2)(rows).weights, [0, 1])
    rows = np.zeros((3, 12))
    rows[0, 0], rows[1, 1], rows[2, 2] = 1e4, 1e2, 1.0
    expected = 1 / np.array([1e8, 1e4, 1])
    weights = runner("mgda", 3)(rows).weights
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-4)


@pytest.mark.parametrize("num_tasks", some([2, 3, 5], [2, 5]))
def test_mgda_with_a_zero_gradient_gives_zero(num_tasks):
    rows = samples.jacobian("zero row", num_tasks)
    np.testing.assert_array_equal(runner("mgda", num_tasks)(rows).direction, 0)
    # A zero gradient cannot be normalized: the others are combined without it.
    for name in ("mgda l2", "mgda loss+"):
        outcome = runner(name, num_tasks)(rows)
        assert outcome.weights[0] == 0
        assert np.linalg.norm(outcome.direction) > 0.1


@pytest.mark.parametrize("num_tasks", some([2, 3, 5, 20], [2, 5]))
def test_mgda_gives_parallel_gradients_equal_weights(num_tasks):
    """Pitfall: many weights are optimal, and rounding would select among them."""
    for seed in range(8):
        rng = np.random.default_rng([seed, num_tasks])
        row = rng.normal(size=max(12, 2 * num_tasks))
        rows = rng.uniform(0.1, 10, (num_tasks, 1)) * row
        weights = runner("mgda l2", num_tasks)(rows.astype(np.float32)).weights
        np.testing.assert_allclose(weights, 1 / num_tasks, atol=0.05 / num_tasks)
        # Without normalization if norms are equal, too; a shorter gradient gets all the weight.
        equal = np.tile(row, (num_tasks, 1)).astype(np.float32)
        weights = runner("mgda", num_tasks)(equal).weights
        np.testing.assert_allclose(weights, 1 / num_tasks, atol=1e-3 / num_tasks)
        equal[0] /= 2
        np.testing.assert_allclose(runner("mgda", num_tasks)(equal).weights[0], 1, atol=1e-3)


def test_mgda_splits_the_weight_of_two_parallel_gradients():
    """Two parallel gradients share the weight that one of them alone would have."""
    rows = samples.jacobian("orthogonal", 2).astype(np.float64)
    rows = np.stack([rows[0], rows[1], 3 * rows[1]])
    np.testing.assert_allclose(runner("mgda l2", 3)(rows).weights, [0.5, 0.25, 0.25], atol=1e-2)


def test_mgda_normalization_is_used_only_in_the_solver():
    """Pitfall: normalized gradients in the update. Here it is the mean of the raw gradients."""
    rows = np.zeros((2, 12))
    rows[0, 0], rows[1, 1] = 1.0, 100.0
    direction = runner("mgda l2", 2)(rows).direction
    np.testing.assert_allclose(direction[:2], [0.5, 50.0], rtol=1e-5)


VANISHING = list(itertools.product([2, 3, 5, 8], [1.0, 1.5, 5.0]))


@pytest.mark.parametrize(("num_tasks", "c"), some(VANISHING, [(5, 1.0), (2, 1.5), (5, 5.0)]))
def test_cagrad_when_the_mixture_vanishes(num_tasks, c):
    """Pitfall: division by |g_w| = 0. The direction has no conflict and is within the ball."""
    run = cagrad(c, num_tasks)
    for seed in range(6):
        rows = samples.jacobian("conflicting", num_tasks, seed).astype(np.float64)
        # The last gradient opposes the sum of the others: the hull contains zero.
        rows[-1] = -1.7 * rows[:-1].sum(0)
        outcome = run(rows)
        properties.assert_finite(outcome, rows)
        direction, mean = outcome.weights.astype(np.float64) @ rows, rows.mean(0)
        lengths = properties.lengths(rows)
        assert (rows @ direction >= -1e-3 * np.linalg.norm(mean) * lengths).all()
        assert np.linalg.norm(direction - mean) <= c * np.linalg.norm(mean) * 1.001


def test_imtl_g_weights_can_be_negative_from_three_tasks_on():
    """Negative weights of the closed form are not clipped."""
    cosines = np.array([[1, 0.9, 0], [0.9, 1, 0.4], [0, 0.4, 1]])
    rows = np.zeros((3, 12))
    rows[:, :3] = np.linalg.cholesky(cosines)
    expected = np.linalg.solve(cosines, np.ones(3))
    weights = runner("imtl_g", 3)(rows).weights
    assert weights.min() < 0
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-3)


def test_imtl_g_with_parallel_gradients():
    """Pitfall: a singular system. The direction is that of the gradients."""
    row = samples.jacobian("aligned", 2)[0]
    direction = runner("imtl_g", 3)(np.stack([row, 2 * row, 4 * row])).direction
    assert np.isfinite(direction).all()
    cosine = direction @ row / np.linalg.norm(direction) / np.linalg.norm(row)
    np.testing.assert_allclose(cosine, 1.0, rtol=1e-5)


def test_aligned_mtl_does_not_drop_small_gradients():
    """Pitfall: a rank tolerance relative to the largest gradient."""
    rows = np.zeros((3, 12))
    rows[0, 0], rows[1, 1], rows[2, 2] = 1e-4, 1.0, 1e4
    direction = runner("aligned", 3)(rows).direction
    np.testing.assert_allclose(direction[:3], 1e-4 / 3, rtol=1e-4)


SIZES = list(itertools.product([2, 3, 8, 40], [False, True]))


@pytest.mark.parametrize(("num_tasks", "jit"), some(SIZES, [(40, False), (3, True)]))
def test_aligned_mtl_computes_the_smallest_singular_value_accurately(num_tasks, jit):
    """Pitfall: the smallest eigenvalue is inaccurate beside the largest, in XLA even more.

    The reference is the largest eigenvalue of the inverse matrix, which is accurate.
    """
    combiner = combiners.AlignedMTL()
    combiner.build(num_tasks)
    step = tf.function(
        lambda gramian: combiner.task_weights(
            gramian, tf.ones(num_tasks), tf.ones(num_tasks, tf.bool)
        ),
        autograph=False,
        jit_compile=jit,
    )
    for span in (1, 2, 4, 8):
        rng = np.random.default_rng([num_tasks, span])
        units = rng.normal(size=(num_tasks, 2 * num_tasks))
        sizes = 10.0 ** rng.uniform(-span, span, num_tasks)
        weights = step(tf.constant(units @ units.T * np.outer(sizes, sizes))).numpy()
        inverse = np.linalg.inv(units @ units.T) / np.outer(sizes, sizes)
        smallest = np.linalg.eigvalsh(inverse)[-1] ** -0.5
        direction = (weights * sizes) @ units
        # The mean of K orthogonal vectors of that length.
        np.testing.assert_allclose(
            direction @ direction, smallest**2 / num_tasks, rtol=1e-5, err_msg=str(span)
        )


def test_aligned_mtl_with_dependent_gradients_uses_their_span():
    rows = samples.jacobian("orthogonal", 3).astype(np.float64)
    rows[2] = rows[0]
    # Singular values sqrt(2) and 1.
    expected = (2 / 2**0.5 * rows[0] + rows[1]) / 3
    np.testing.assert_allclose(runner("aligned", 3)(rows).direction, expected, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["mgda", "pcgrad", "cagrad", "nash", "nash mean", "imtl_g", "upgrad"]
)
def test_cached_weights_are_those_of_the_last_step(name):
    run = runner(name, 5)
    weights = run(samples.jacobian("conflicting", 5), samples.losses(5)).weights
    everyone = tf.constant([True] * 5)
    np.testing.assert_allclose(run.combiner.cached_weights(everyone), weights, rtol=1e-6)
    # Without a task, the others keep their proportions and the scale of the mean.
    four = run.combiner.cached_weights(tf.constant([True, False, True, True, True])).numpy()
    np.testing.assert_allclose(np.delete(four, 1), np.delete(weights, 1) * 1.25, rtol=1e-6)
    assert four[1] == 0


@pytest.mark.slow
def test_forty_tasks_with_different_norms():
    rows = samples.jacobian("spread", 40)
    names = ("mgda", "cagrad", "nash", "upgrad", "aligned", "imtl_g", "pcgrad", "gradvac")
    names += ("dualproj", "config", "ign", "fairgrad")
    for name in names:
        properties.assert_finite(runner(name, 40)(rows), rows)


@pytest.mark.parametrize("name", ["mgda", "cagrad", "nash mean", "upgrad", "fairgrad", "ign"])
def test_norms_at_the_limits_of_float32_gramians(name):
    """Norms below 1e-19 count as zero, above 1e19 as diverged; between, weights are accurate."""
    rows = samples.jacobian("conflicting", 5).astype(np.float64)
    rows /= properties.lengths(rows)[:, None]
    plain = runner(name, 5)(rows).weights
    for size in (2.0**-56, 2.0**62):
        np.testing.assert_allclose(runner(name, 5)(rows * size).weights, plain, rtol=1e-3)
    zero = runner(name, 5)(rows * np.array([1e-21, 1, 1, 1, 1])[:, None])
    without = runner(name, 5)(rows * np.array([0, 1, 1, 1, 1])[:, None])
    np.testing.assert_array_equal(zero.weights, without.weights)
    assert np.isnan(runner(name, 5)(rows * np.array([1e20, 1, 1, 1, 1])[:, None]).weights).all()


@pytest.mark.parametrize("num_tasks", some([17, 20, 40], [20]))
def test_upgrad_weights_stay_bounded_if_gradients_cancel(num_tasks):
    """Pitfall: iterations that continue with a solved problem while others are unsolved drift along
    weights that cancel, until their sum is rounding error."""
    for pairs, seed in itertools.product((1, 3), range(4)):
        rng = np.random.default_rng([num_tasks, pairs, seed])
        rows = rng.normal(size=(num_tasks, num_tasks + 3)).astype(np.float32)
        for k in range(pairs):
            rows[2 * k + 1] = -rows[2 * k]
        outcome = runner("upgrad", num_tasks)(rows)
        assert np.abs(outcome.weights).max() < 5
        lengths = np.linalg.norm(rows, axis=1)
        assert (rows @ outcome.direction / lengths).min() > -1e-4 * lengths.max()
