"""CAGrad's closed form for two tasks: against the general solver, SciPy and special cases."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from mtk.combiners import cagrad
from mtk.combiners.solvers.pair import worst_mixture_of_two
from mtk.combiners.solvers.scaling import Scaled, scale
from tests.combiners import samples
from tests.quick import some

RADII = some([0.05, 0.4, 1.0, 1.5, 10.0], [0.05, 1.0, 10.0])
PAIR = tf.constant([True, True])


def gramian_of(cosine: float, ratio: float) -> np.ndarray:
    return np.array([[1.0, cosine * ratio], [cosine * ratio, ratio**2]])


@tf.function(autograph=False)
def problem(gramian: np.ndarray) -> tuple[Scaled, tf.Tensor]:
    """Returns the scaled Gramian, and the mean gradient of length one."""
    scaled = scale(gramian, PAIR)
    return scaled, scaled.lengths / tf.sqrt(tf.reduce_sum(gramian))


worst = tf.function(worst_mixture_of_two, autograph=False)


def shares(mixture: tf.Tensor, scaled: Scaled) -> np.ndarray:
    """Returns the weights of the gradients, which sum to one."""
    weights = mixture.numpy() / scaled.lengths.numpy()
    return weights / weights.sum()


def bound(gramian: np.ndarray, share: float, c: float) -> float:
    """Returns the objective `g_w . u + c |g_w|`, which has a kink at `g_w = 0`."""
    weights = np.array([share, 1 - share])
    linear = weights @ gramian.sum(1) / np.sqrt(gramian.sum())
    return linear + c * np.sqrt(max(weights @ gramian @ weights, 0.0))


MATRICES = [
    gramian_of(cosine, ratio)
    for cosine in (-0.999, -0.9, -0.5, -0.1, 0.0, 0.3, 0.8, 0.99, 1.0)
    for ratio in (1e-6, 1e-2, 0.3, 0.9, 1.0, 1.7, 50.0, 1e5)
] + [
    rows @ rows.T
    for kind in ("aligned", "conflicting", "opposed", "spread")
    for rows in [samples.jacobian(kind, 2, seed).astype(np.float64) for seed in range(25)]
]


@pytest.mark.parametrize("c", RADII)
def test_minimizes_over_the_line(c):
    """Neither end of the line and no point found by SciPy's bounded search is lower."""
    for gramian in MATRICES:
        scaled, mean = problem(tf.constant(gramian))
        share = shares(worst(scaled, mean, c), scaled)[0]
        assert 0 <= share <= 1
        search = optimize.minimize_scalar(
            lambda t, gramian=gramian: bound(gramian, t, c),
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-12},
        )
        least = min(search.fun, bound(gramian, 0.0, c), bound(gramian, 1.0, c))
        size = (1 + c) * np.sqrt(gramian.diagonal().max())
        assert bound(gramian, share, c) <= least + 1e-12 * size


@pytest.mark.parametrize("c", some([0.05, 0.4, 1.0, 1.5, 10.0], [0.05]))
def test_agrees_with_the_general_solver(c):
    """Compares the directions of mixtures that are not close to zero."""
    compared = 0

    @tf.function(autograph=False)
    def general(scaled, mean):
        values, vectors = tf.linalg.eigh(scaled.cosines)
        rows = vectors * tf.sqrt(tf.maximum(values, 0.0))
        return cagrad._worst_mixture(scaled, rows, mean, c)

    for gramian in MATRICES:
        scaled, mean = problem(tf.constant(gramian))
        mixtures = [
            worst(scaled, mean, c).numpy(),
            general(scaled, mean)[0].numpy(),
        ]
        cosines = scaled.cosines.numpy()
        norms = [np.sqrt(max(x @ cosines @ x, 0.0)) for x in mixtures]
        if norms[0] < 0.01 * mixtures[0].sum():
            continue
        compared += 1
        difference = mixtures[0] / norms[0] - mixtures[1] / norms[1]
        assert np.sqrt(max(difference @ cosines @ difference, 0.0)) < 1e-3
    assert compared > 100


@pytest.mark.parametrize("c", RADII)
def test_derivative_vanishes_inside(c):
    """The derivative vanishes inside of the line; at its ends it points outward."""
    inside = 0
    for gramian in MATRICES:
        scaled, mean = problem(tf.constant(gramian))
        first, second = shares(worst(scaled, mean, c), scaled)
        along = np.array([1.0, -1.0])
        weights = np.array([first, second])
        norm = np.sqrt(max(weights @ gramian @ weights, 0.0))
        if norm < 1e-3 * np.sqrt(gramian.diagonal().max()):
            continue
        linear = along @ gramian.sum(1) / np.sqrt(gramian.sum())
        slope = linear + c * (along @ gramian @ weights) / norm
        slack = 1e-9 * (1 + c) * np.sqrt(gramian.diagonal().max())
        assert slope >= -slack or first == 1
        assert slope <= slack or first == 0
        inside += 0 < first < 1
    assert inside > 10


def test_small_weights_are_accurate():
    """Norms 1 and 1e9, orthogonal, in a very large ball: close to the min-norm point."""
    for order in (slice(None), slice(None, None, -1)):
        gramian = np.diag([1.0, 1e18])[order, order]
        scaled, mean = problem(tf.constant(gramian))
        found = shares(worst(scaled, mean, 1e15), scaled)[order]
        np.testing.assert_allclose(found, [1.0, 1e-18], rtol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "expected"), [([2.0, 0.0], [1, 0]), ([0.0, 3.0], [0, 1]), ([0.0, 0.0], [0, 0])]
)
def test_zero_gradients_are_excluded(lengths, expected):
    scaled = scale(tf.constant(np.diag(np.square(lengths))), PAIR)
    mean = tf.constant([0.5, 0.5], tf.float64)
    found = worst(scaled, mean, 0.5).numpy()
    np.testing.assert_array_equal(found, expected)


def test_equal_gradients_get_equal_weights():
    scaled, mean = problem(tf.constant(np.full((2, 2), 4.0)))
    np.testing.assert_allclose(worst(scaled, mean, 0.5), [0.5, 0.5])


def test_opposed_gradients_cancel():
    """At the kink the mixture is zero, which the caller handles."""
    gramian = np.array([[1.0, -3.0], [-3.0, 9.0]])
    for c in (1.5, 3.0):
        scaled, mean = problem(tf.constant(gramian))
        found = shares(worst(scaled, mean, c), scaled)
        np.testing.assert_allclose(found, [0.75, 0.25], atol=1e-7)
