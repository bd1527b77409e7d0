"""Methods that only read losses, over several steps: epochs, windows and extreme values."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from tests.combiners.test_learned import built


def course(combiner: combiners.LossCombiner, losses, present=None) -> np.ndarray:
    """Returns the weights of each step, eagerly."""
    number = len(losses[0])
    if not combiner.built:
        built(combiner, tuple("abcdefgh"[:number]))
    present = present or [[True] * number] * len(losses)
    rows = zip(losses, present, strict=True)
    return np.array(
        [
            combiner.task_weights(
                tf.constant(row, tf.float32), tf.constant(mask), tf.cast(mask, tf.float32)
            )
            for row, mask in rows
        ]
    )


def smooth_maximum(losses, references, mu, preference=(1.0, 1.0)) -> np.ndarray:
    """The gradient of `mu log(sum(exp(log(r L / M) / mu)))`, with a sum of one."""
    losses, preference = np.array(losses, float), np.array(preference)
    weights = (preference * losses / references) ** (1 / mu) / losses
    return weights / weights.sum()


def test_stch_phases():
    """Two epochs of warm-up, one that measures references, then the smooth maximum."""
    combiner = combiners.STCH(steps_per_epoch=2, mu=0.5, warm_up_epochs=2)
    losses = [[9, 1], [8, 1], [7, 1], [6, 1], [4, 1], [2, 3], [3, 1], [1, 2]]
    found = course(combiner, losses)
    inverse = 1 / np.array(losses, float)
    np.testing.assert_allclose(found[:6], (inverse.T / inverse.sum(1)).T[:6], rtol=1e-4)
    for step in (6, 7):
        expected = smooth_maximum(losses[step], [3, 2], 0.5)
        np.testing.assert_allclose(found[step], expected, rtol=1e-4)


def test_stch_preference():
    combiner = combiners.STCH(1, mu=2.0, warm_up_epochs=0, preference={"b": 3, "a": 1})
    losses = [[2, 4], [3, 3]]
    found = course(combiner, losses)
    expected = np.array([1 / 2, 3 / 4]) / (1 / 2 + 3 / 4)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    expected = smooth_maximum([3, 3], [2, 4], 2.0, (0.5, 1.5))
    np.testing.assert_allclose(found[1], expected, rtol=1e-4)


def test_stch_measures_a_reference_when_a_task_is_first_present():
    """Its first loss becomes the reference, and counts as equal to it."""
    combiner = combiners.STCH(1, warm_up_epochs=0)
    everyone, alone = [True, True], [True, False]
    losses = [[2, 0], [1, 0], [1, 5], [1, 10]]
    found = course(combiner, losses, [alone, alone, everyone, everyone])
    np.testing.assert_allclose(found[:2], [[1, 0], [1, 0]])
    np.testing.assert_allclose(found[2], smooth_maximum([1, 5], [2, 5], 1.0), rtol=1e-4)
    np.testing.assert_allclose(found[3], smooth_maximum([1, 10], [2, 5], 1.0), rtol=1e-4)


def test_stch_ignores_a_loss_of_zero_as_reference():
    """All later losses would be far above it, and the task would have all the weight."""
    found = course(combiners.STCH(1, warm_up_epochs=0), [[1, 0], [1, 2], [1, 4]])
    np.testing.assert_allclose(found[1], smooth_maximum([1, 2], [1, 2], 1.0), rtol=1e-4)
    np.testing.assert_allclose(found[2], smooth_maximum([1, 4], [1, 2], 1.0), rtol=1e-4)


@pytest.mark.parametrize("mu", [0.001, 1e3])
def test_stch_limits_of_mu(mu):
    """A small mu: the worst of the relative losses; a large one: the sum of logarithms."""
    found = course(combiners.STCH(1, mu=mu, warm_up_epochs=0), [[1, 1, 1], [0.5, 0.9, 0.8]])[1]
    inverse = 1 / np.array([0.5, 0.9, 0.8])
    expected = [0, 1, 0] if mu < 1 else inverse / inverse.sum()
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("lowest", [0.0, -2.0])
def test_gls_excludes_a_loss_that_was_never_above_zero(lowest):
    """As a factor it would make the product zero and stop the other tasks."""
    found = course(combiners.GLS(), [[1, 4, lowest], [1, 4, lowest]])
    np.testing.assert_allclose(found, [[1, 1 / 4, 0]] * 2, rtol=1e-5)


def test_gls_of_many_small_losses():
    """Pitfall: the product of the losses underflows."""
    losses = np.float32(np.logspace(-25, -5, 40))
    combiner = combiners.GLS()
    combiner.build(40)
    everyone = tf.ones(40, tf.bool)
    found = combiner.task_weights(tf.constant(losses), everyone, tf.ones(40))
    np.testing.assert_allclose(found, 1e-15 / losses / 40, rtol=1e-4)


@pytest.mark.parametrize("name", ["ScaleInvariant", "GLS"])
def test_direction_does_not_depend_on_units_of_losses(name):
    """A loss in another unit has the same share of the direction, also after a loss of zero."""
    losses = np.array([[2, 1], [1, 0.9], [0, 0.8], [0.01, 0.7]])
    parts = []
    for units in ([1, 1], [1e6, 1e-3]):
        weights = course(getattr(combiners, name)(), (losses * units).tolist())
        part = weights * units
        parts.append(part / np.abs(part).sum(1, keepdims=True))
    np.testing.assert_allclose(parts[0], parts[1], rtol=1e-4)


@pytest.mark.parametrize("name", ["ScaleInvariant", "GLS", "UWSO"])
def test_loss_at_its_bound_does_not_dominate(name):
    """Pitfall: the logarithm of zero."""
    combiner = built(getattr(combiners, name)(), tuple("abc"))
    found = course(combiner, [[1, 1, 2], [0, 1, 2], [-1, 1, 2]])
    assert np.isfinite(found).all()
    assert (found[1:, 0] <= 1 / 3 + 1e-6).all()
    assert (found[1:, 1] > found[1:, 2]).all()


def test_uwso_of_extreme_losses():
    """Pitfall: overflow of the exponential."""
    found = course(combiners.UWSO(1e-3), [[1e-30, 1.0], [1e30, 1e30]])
    np.testing.assert_allclose(found, [[1, 0], [0.5, 0.5]], atol=1e-4)


LINES = np.array([5.0, 1.0]) + np.arange(6)[:, None] * np.array([-0.5, 0.25])


def test_softadapt_uses_the_slope_of_the_window():
    found = course(combiners.SoftAdapt(beta=2.0, window=4), LINES.tolist())
    np.testing.assert_allclose(found[:3], 0.5)
    expected = np.exp([-1.0, 0.5])
    np.testing.assert_allclose(found[3:], [expected / expected.sum()] * 3, rtol=1e-5)


def test_softadapt_variants():
    normalized = course(combiners.SoftAdapt(2.0, 4, "normalized"), LINES.tolist())[-1]
    expected = np.exp(2 * np.array([-0.5, 0.25]) / 0.75)
    np.testing.assert_allclose(normalized, expected / expected.sum(), rtol=1e-5)
    weighted = course(combiners.SoftAdapt(2.0, 4, "loss_weighted"), LINES.tolist())[-1]
    expected = LINES[2:].mean(0) * np.exp([-1.0, 0.5])
    np.testing.assert_allclose(weighted, expected / expected.sum(), rtol=1e-5)


def test_softadapt_skips_steps_without_labels():
    """Steps with labels count as consecutive."""
    losses = [[4, 9], [3, 0], [0, 8], [2, 7]]
    present = [[True, True], [True, False], [False, True], [True, True]]
    found = course(combiners.SoftAdapt(1.0, window=2), losses, present)
    np.testing.assert_allclose(found[1:3], [[1, 0], [0, 1]])
    np.testing.assert_allclose(found[3], [0.5, 0.5], rtol=1e-6)


def test_pbi_and_cosmos_reduce_the_weight_of_the_task_ahead():
    """The task that is ahead has the smaller weight, a negative one if the penalty is large."""
    for make in (combiners.PBI, combiners.COSMOS):
        found = course(make(), [[0.2, 0.1]])[0]
        assert found[0] > 0 > found[1]
        combiner = built(make())
        heads = combiner.head_weights(tf.constant(found), tf.constant([True, True])).numpy()
        np.testing.assert_allclose(heads, [found[0], 0])
        slight = course(make(0.05), [[0.2, 0.1]])[0]
        assert slight[0] > slight[1] > 0
