"""Combiners that learn from step to step: limits, single steps and known pitfalls."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import beta, kstest, triang

from mtk import combiners
from tests.combiners.cases import BY_NAME

ALL = tf.constant([True, True])


def built(combiner: combiners.Combiner, names: tuple[str, ...] = ("a", "b")) -> combiners.Combiner:
    combiner.bind(names, ["shared/kernel"])
    combiner.bind_shapes({"shared/kernel": (4,)})
    combiner.build(len(names))
    return combiner


def each_of(inputs: tf.Tensor, step: Callable[[tf.Tensor], tf.Tensor]) -> np.ndarray:
    """Takes a step for each input, in order, and returns the results."""

    @tf.function(autograph=False)
    def run() -> tf.Tensor:
        return tf.map_fn(step, inputs, parallel_iterations=1, fn_output_signature=tf.float32)

    return run().numpy()


def weights_after(combiner: combiners.LossCombiner, losses: list[float], steps: int) -> np.ndarray:
    given = tf.constant(losses)
    return each_of(tf.range(steps), lambda _: combiner.task_weights(given, ALL, tf.ones(2)))


@pytest.mark.parametrize("name", BY_NAME)
def test_no_state_is_trainable(name):
    """Pitfall: weight decay or clipping of the network applies to the state of a method."""
    assert not built(BY_NAME[name].make()).trainable_variables


def test_uncertainty_weights_balance_losses():
    """At the optimum `c exp(-s) L = 1/2`: the weights are `1 / (2 L)`, divided by K."""
    combiner = built(combiners.UncertaintyWeights(["a"], learning_rate=0.05))
    found = weights_after(combiner, [4.0, 0.25], 600)[-1]
    np.testing.assert_allclose(found, [1 / 16, 1.0], rtol=0.02)


def test_imtl_l_balances_losses():
    """At the optimum `exp(s) L = 1`."""
    found = weights_after(built(combiners.IMTLL(learning_rate=0.05)), [4.0, 0.25], 600)[-1]
    np.testing.assert_allclose(found, [1 / 8, 2.0], rtol=0.02)


def test_imtl_head_weights_balance_losses():
    combiner = built(combiners.IMTL(learning_rate=0.05))
    gramian = tf.constant([[1.0, -0.9], [-0.9, 1.0]])
    losses = tf.constant([4.0, 0.25])
    weights = each_of(tf.range(600), lambda _: combiner.new_weights(gramian, losses, ALL))[-1]
    np.testing.assert_allclose(combiner.head_weights(weights, ALL), [1 / 8, 2.0], rtol=0.02)
    # The scaled gradients, 1/4 and 4 long, have the same projections: 16 to 1 in their weights.
    np.testing.assert_allclose(weights / [0.25, 4.0], [16 / 17, 1 / 17], rtol=0.05)


def test_learning_rate_of_zero_keeps_the_weights():
    found = weights_after(built(combiners.UncertaintyWeights(learning_rate=0.0)), [4.0, 9.0], 3)
    np.testing.assert_array_equal(found, 0.5)


def test_dwa_compares_epochs():
    """The first two epochs have equal weights; after that means of whole epochs are compared."""
    combiner = built(combiners.DWA(steps_per_epoch=2, temperature=2.0))
    # Means of the epochs: (2, 1), then (1, 1), then (1, 0.5).
    course = [[3, 1], [1, 1], [1, 2], [1, 0], [1, 0.5], [1, 0.5], [7, 7]]
    found = [combiner.task_weights(tf.constant(row, tf.float32), ALL, tf.ones(2)) for row in course]
    np.testing.assert_allclose(found[:4], 0.5)
    third, fourth = np.exp([0.25, 0.5]), np.exp([0.5, 0.25])
    np.testing.assert_allclose(found[4], third / third.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[5], third / third.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[6], fourth / fourth.sum(), rtol=1e-6)


def test_dwa_ignores_an_epoch_without_labels():
    combiner = built(combiners.DWA(steps_per_epoch=1))
    for losses, present in (([2, 2], [True, True]), ([1, 0], [True, False]), ([1, 1], [True] * 2)):
        weights = combiner.task_weights(
            tf.constant(losses, tf.float32), tf.constant(present), tf.ones(2)
        )
    # The second task has one mean so far, hence the neutral rate of one.
    expected = np.exp([0.25, 0.5])
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-6)


def test_famo_raises_the_weight_of_the_slowest_task():
    combiner = built(combiners.FAMO(learning_rate=0.1))
    before, after = tf.constant([1.0, 1.0]), tf.constant([0.5, 0.99])
    for _ in range(5):
        combiner.after_step(before, after, ALL)
    weights = combiner.task_weights(before, ALL, tf.ones(2)).numpy()
    assert weights[1] > 0.6
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)


def test_famo_step_by_hand():
    """`softmax' = (p_i (fall_i - p . fall))`; the first step of Adam is its sign."""
    combiner = built(combiners.FAMO(learning_rate=0.1, decay=0.0))
    combiner.after_step(tf.constant([2.0, 2.0]), tf.constant([1.0, 3.0]), ALL)
    np.testing.assert_allclose(combiner.logits, [-0.1, 0.1], rtol=1e-4)


def test_famo_weights_are_finite_for_losses_at_their_bound():
    combiner = built(combiners.FAMO(bounds={"b": 0.5, "a": 0.0}))
    losses = tf.constant([0.0, 0.4])
    combiner.after_step(losses, losses, ALL)
    weights = combiner.task_weights(losses, ALL, tf.ones(2)).numpy()
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)


def gradnorm(steps: int, losses: tuple[float, float] = (1.0, 1.0), **options: object) -> np.ndarray:
    combiner = built(combiners.GradNorm(**options))
    gramian = tf.constant([[1.0, 0.0], [0.0, 9.0]])
    given = tf.constant(losses)
    return each_of(tf.range(steps), lambda _: combiner.new_weights(gramian, given, ALL))


def test_gradnorm_balances_norms():
    """With equal rates the weighted norms become equal: norms 1 and 3, weights 3/4 and 1/4."""
    found = gradnorm(200, learning_rate=0.01)
    np.testing.assert_allclose(found[0], 0.5)
    np.testing.assert_allclose(found[-1], [0.75, 0.25], atol=0.02)
    # The weights are normalized to a sum of one.
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)


def test_gradnorm_uses_given_initial_losses():
    """With L(0) = (2, 1) and alpha = 1 the rates are 2/3 and 4/3."""
    found = gradnorm(400, learning_rate=0.005, alpha=1.0, initial_losses={"b": 1.0, "a": 2.0})
    # w_1 : 3 w_2 = 1 : 2, hence 3 : 2.
    np.testing.assert_allclose(found[-1], [0.6, 0.4], atol=0.02)


def test_gradnorm_weights_stay_positive():
    found = gradnorm(300, learning_rate=0.5)
    assert (found > 0).all()


def test_rlw_distributions_differ():
    """At K = 2 Dirichlet(1) is uniform, with variance 1/12."""
    draws = {}
    for distribution in ("normal", "dirichlet"):
        combiner = built(combiners.RLW(distribution))
        draws[distribution] = weights_after(combiner, [1.0, 1.0], 3000)
        np.testing.assert_allclose(draws[distribution].mean(0), 0.5, atol=0.025)
    np.testing.assert_allclose(draws["dirichlet"].var(0), 1 / 12, rtol=0.06)
    # softmax of two normal numbers: the logistic function of N(0, 2), by quadrature.
    points, mass = np.polynomial.hermite_e.hermegauss(60)
    logistic = 1 / (1 + np.exp(-np.sqrt(2) * points))
    variance = mass @ (logistic - 0.5) ** 2 / mass.sum()
    np.testing.assert_allclose(draws["normal"].var(0), variance, rtol=0.06)


@pytest.mark.parametrize("concentration", [0.3, 2.5])
def test_rlw_dirichlet_concentration(concentration):
    """At K = 2 the Dirichlet distribution is a beta distribution."""
    combiner = built(combiners.RLW("dirichlet", concentration=concentration), ("a", "b"))
    found = np.sort(weights_after(combiner, [1.0, 1.0], 3000)[:, 0])
    assert kstest(found, beta(concentration, concentration).cdf).pvalue > 1e-3


def test_rlw_log_uniform():
    """The logarithm of the ratio is the difference of two uniform numbers."""
    combiner = built(combiners.RLW("log_uniform", smallest=0.1))
    found = weights_after(combiner, [1.0, 1.0], 3000)
    ratios = np.log10(found[:, 0] / found[:, 1])
    assert kstest(ratios, triang(0.5, loc=-1, scale=2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("distribution", ["normal", "dirichlet", "log_uniform"])
def test_rlw_next_weights_are_those_of_the_next_step(distribution):
    combiner = built(combiners.RLW(distribution, seed=2))
    for _ in range(2):
        told = combiner.next_weights(3)
        np.testing.assert_array_equal(told, np.repeat(combiner.next_weights(1), 3, axis=0))
        taken = weights_after(combiner, [1.0, 1.0], 1)
        np.testing.assert_allclose(told[:1], taken, rtol=1e-6)


@pytest.mark.parametrize("distribution", ["normal", "dirichlet", "log_uniform"])
def test_rlw_with_an_absent_task_equals_rlw_of_the_others(distribution):
    combiner = built(combiners.RLW(distribution, seed=5), ("a", "b", "c"))
    present = tf.constant([True, False, True])
    found = each_of(
        tf.range(3000), lambda _: combiner.task_weights(tf.ones(3), present, tf.ones(3))
    )
    pair = weights_after(built(combiners.RLW(distribution)), [1.0, 1.0], 3000)
    np.testing.assert_array_equal(found[:, 1], 0)
    np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0].var(), pair[:, 0].var(), rtol=0.1)


def test_rlw_draws_depend_on_the_seed():
    """Pitfall: replicas draw different weights. Draws depend only on state and seed."""
    first, second = (weights_after(built(combiners.RLW(seed=4)), [1.0, 1.0], 5) for _ in range(2))
    other = weights_after(built(combiners.RLW(seed=5)), [1.0, 1.0], 5)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)
    assert len(np.unique(first[:, 0])) == 5
