"""Theorems 1 and 2 of the paper on a convex problem whose front is known exactly."""

import convex_front
import numpy as np
import pytest

from mtk.analysis import non_dominated

PROBLEMS = [convex_front.example(apart) for apart in (0.3, 1.0, 2.0)]
WEIGHTS = np.linspace(0.05, 0.95, 19)


def random_problem(seed):
    generator = np.random.default_rng(seed)
    factor = generator.normal(size=(4, 4)) + 2 * np.eye(4)
    return convex_front.Quadratics(
        factor @ factor.T, generator.normal(size=(2, 4)), generator.uniform(0, 1, 2)
    )


@pytest.mark.parametrize("problem", [*PROBLEMS, *map(random_problem, range(5))])
def test_scalarization_traces_the_front(problem):
    points = np.array([problem.scalarize(weight) for weight in WEIGHTS])
    losses = problem.losses(points)
    np.testing.assert_allclose(losses[:, 1], problem.front(losses[:, 0]), atol=1e-6)
    assert non_dominated(losses).all()
    # The minimizer is also known in closed form.
    shares = np.stack([WEIGHTS, 1 - WEIGHTS], axis=1)
    np.testing.assert_allclose(points, shares @ problem.centers, atol=1e-6)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_theorem_1_no_point_dominates_a_scalarized_optimum(problem):
    generator = np.random.default_rng(0)
    found = problem.losses(np.array([problem.scalarize(weight) for weight in WEIGHTS]))
    places = problem.centers.mean(0) + generator.normal(0, 1, (20_000, 3))
    # The closest competitors lie near the segment between the optima.
    shares = generator.uniform(-0.1, 1.1, (20_000, 1))
    close = shares * problem.centers[0] + (1 - shares) * problem.centers[1]
    rivals = problem.losses(
        np.concatenate([places, close + generator.normal(0, 1e-3, places.shape)])
    )
    better = (rivals[:, None] <= found[None] - 1e-9).all(2)
    assert not better.any()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_theorem_2_every_point_of_the_front_is_a_scalarized_optimum(problem):
    first = problem.floors[0] + problem.distance * np.linspace(0.01, 0.99, 25)
    for loss in first:
        # The slope of the front at a point is minus the ratio of its weights.
        step = 1e-6 * problem.distance
        slope = (problem.front(loss + step) - problem.front(loss - step)) / (2 * step)
        weight = -slope / (1 - slope)
        reached = problem.losses(problem.scalarize(weight)[None])[0]
        np.testing.assert_allclose(reached, [loss, problem.front(loss)], rtol=1e-4)


def test_without_competition_all_weights_have_the_same_optimum():
    problem = convex_front.example(0.0)
    points = np.array([problem.scalarize(weight) for weight in WEIGHTS])
    np.testing.assert_allclose(points, np.broadcast_to(problem.centers[0], points.shape), atol=1e-6)
