"""Fronts and indicators against their definitions, on generated sets."""

import itertools

import moocore
import numpy as np
import pytest

from mtk.analysis import additive_epsilon, hypervolume, multiplicative_epsilon, non_dominated, r2


def sets(num_tasks, number=250):
    """Yields random sets of three kinds: continuous, with many ties, with exact duplicates."""
    generator = np.random.default_rng(num_tasks)
    for index in range(number):
        size = int(generator.integers(1, 40 if num_tasks < 5 else 25))
        if index % 3 == 0:
            yield generator.uniform(0.1, 1, (size, num_tasks))
        elif index % 3 == 1:
            yield generator.integers(1, 6, (size, num_tasks)).astype(float)
        else:
            points = -np.log(generator.uniform(0.1, 1, (size, num_tasks))) + 0.1
            yield np.concatenate([points, points[generator.integers(0, size, size // 2)]])


@pytest.mark.parametrize("num_tasks", [2, 3, 5])
def test_fronts_equal_their_definition(num_tasks):
    for points in sets(num_tasks, 30):
        better = (points[:, None] <= points).all(2) & (points[:, None] < points).any(2)
        np.testing.assert_array_equal(non_dominated(points), ~better.any(0))


@pytest.mark.parametrize("num_tasks", [2, 3, 4])
def test_hypervolumes_equal_monte_carlo_estimates(num_tasks):
    drawn = np.random.default_rng(0).random((20_000, num_tasks))
    for points in sets(num_tasks, 6):
        reference = np.median(points, axis=0) + 0.1
        low = points.min(0)
        inside = low + drawn * (reference - low)
        share = np.mean([(points <= each).all(1).any() for each in inside])
        found = hypervolume(points, reference) / np.prod(reference - low)
        assert found == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("num_tasks", [2, 5])
def test_epsilons_equal_their_definition(num_tasks):
    for points, other in itertools.pairwise(sets(num_tasks, 30)):
        pairs = points[:, None], other[None]
        expected = (pairs[0] - pairs[1]).max(2).min(0).max()
        assert additive_epsilon(points, other) == pytest.approx(expected, rel=1e-12)
        expected = (pairs[0] / pairs[1]).max(2).min(0).max()
        assert multiplicative_epsilon(points, other) == pytest.approx(expected, rel=1e-12)


def test_r2_equals_the_exact_integral_for_two_tasks():
    for points in sets(2, 100):
        expected = moocore.r2_exact(points, ref=[0, 0])
        assert r2(points, np.zeros(2)) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 4, 5])
def test_r2_of_one_point_equals_the_mean_over_random_weights(num_tasks):
    point = np.linspace(0.5, 1.0, num_tasks)
    weights = np.random.default_rng(0).dirichlet(np.ones(num_tasks), 200_000)
    expected = (weights * point).max(1).mean()
    assert r2(point[None], np.zeros(num_tasks)) == pytest.approx(expected, rel=0.02)


def test_front_of_many_tasks_equals_its_definition():
    generator = np.random.default_rng(1)
    for num_tasks in (1, 2, 7, 40):
        points = generator.integers(0, 4, (60, num_tasks)).astype(float)
        better = (points[:, None] <= points[None]).all(2) & (points[:, None] < points[None]).any(2)
        np.testing.assert_array_equal(non_dominated(points), ~better.any(0))


def test_front_of_infinite_points_and_of_no_points():
    points = np.array([[np.inf, 0.0], [1.0, 1.0], [np.inf, np.inf]])
    assert non_dominated(points).tolist() == [True, True, False]
    assert non_dominated(np.empty((0, 3))).tolist() == []
    assert hypervolume(np.empty((0, 3)), np.ones(3)) == 0.0


def test_nan_points_raise():
    with pytest.raises(ValueError, match="row 1"):
        non_dominated(np.array([[1.0, 2.0], [np.nan, 1.0]]))
    with pytest.raises(ValueError, match="matrix"):
        non_dominated(np.ones(3))
    for points in (np.ones((3, 0)), np.empty((0, 0))):
        with pytest.raises(ValueError, match="K >= 1 objectives"):
            non_dominated(points)
        with pytest.raises(ValueError, match="K >= 1 objectives"):
            hypervolume(points, np.empty(0))
    for reference in (np.ones(2), [1, np.nan, 1], [1, np.inf, 1], 1.0):
        with pytest.raises(ValueError, match="reference point"):
            hypervolume(np.ones((2, 3)), reference)
    with pytest.raises(ValueError, match="positive"):
        multiplicative_epsilon(np.zeros((1, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match="two non-empty sets"):
        additive_epsilon(np.ones((1, 2)), np.ones((0, 2)))


@pytest.mark.parametrize(
    ("points", "ideal", "reason"),
    [
        (np.empty((0, 2)), [0, 0], "two non-empty sets"),
        (np.ones((1, 2)), [0, 0, 0], "the same number of objectives"),
        (np.ones((1, 2)), 0.0, "matrix"),
        (np.ones((1, 2)), [0, np.nan], "NaN"),
        (np.ones((1, 2)), [0, -np.inf], "must be finite"),
        ([[1.0, np.inf]], [0, 0], "must be finite"),
        (np.ones((1, 2)), [2, 0], "must not be worse than any point"),
    ],
)
def test_r2_of_invalid_points_raises(points, ideal, reason):
    with pytest.raises(ValueError, match=reason):
        r2(points, ideal)
