"""Margins against their definition, and against fronts that are known exactly."""

import numpy as np
import pytest
from convex_front import example
from scipy.optimize import linprog

from mtk.analysis import non_dominated
from mtk.analysis.margins import front_of, hinge, margins, widths

FRONT = np.array([[0.0, 10], [2, 6], [5, 3], [10, 0]])


@pytest.mark.parametrize(
    ("point", "amount", "inside"),
    [
        ([2, 6], 0, True),  # A model of the front.
        ([3, 7], -1, True),  # (2, 6), on the chord to (5, 3), is better by 1 in both tasks.
        ([2, 3], 1.5, True),  # Better by this amount.
        ([0, 8], 2 / 3, True),  # Better than the chord from (0, 10) to (2, 6).
        ([-1, 12], 1, False),  # A more extreme trade-off: only a corner of the front is reached.
        ([12, 12], -8, True),
        ([20, 1], -1, False),
    ],
)
def test_margins_to_chords_equal_those_computed_by_hand(point, amount, inside):
    found = margins(np.array([point], float), front_of(FRONT))
    assert found.amount[0] == pytest.approx(amount)
    assert found.inside[0] == inside


def hull_by_linear_program(point, front):
    """Returns the least t for which point + t in every task is a convex combination of models."""
    number, num_tasks = front.shape
    equal = np.zeros((num_tasks + 1, number + 1))
    equal[:num_tasks, :number], equal[:num_tasks, number] = front.T, -1
    equal[num_tasks, :number] = 1
    bounds = [(0, None)] * number + [(None, None)]
    cost = np.append(np.zeros(number), 1.0)
    found = linprog(cost, A_eq=equal, b_eq=np.append(point, 1.0), bounds=bounds)
    return found.fun if found.success else np.inf


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_margins_to_chords_equal_those_of_a_linear_program(num_tasks):
    generator = np.random.default_rng(num_tasks)
    for number in (1, 2, 5, 9, 9, 9, 40, 40):
        front = generator.dirichlet(np.ones(num_tasks), number) ** 0.5 + generator.uniform(
            size=(number, num_tasks)
        ) * (0.1 if number > 9 else 1.0)
        points = generator.uniform(size=(3, num_tasks))
        found = margins(points, front_of(front))
        for n, point in enumerate(points):
            exact = hull_by_linear_program(point, front[non_dominated(front)])
            corner = (front - point).max(1).min()
            assert found.corner[n] == pytest.approx(corner)
            assert found.amount[n] == pytest.approx(min(exact, corner), abs=1e-7)
            ideal = (front.min(0) - point).min()
            least = found.amount[n] if np.isfinite(exact) else ideal
            assert found.least[n] == pytest.approx(least, abs=1e-7)


def test_smooth_margin_is_not_biased_by_noise_of_many_equal_models():
    """From a weight of 1/2 on, the first task is at zero plus noise; so is the method."""
    first = np.linspace(0.1, 0.9, 9)
    noise = np.array([0, 0, 0, 0, 0, 0.1, -0.1, 0.1, -0.1])
    static = np.stack([np.maximum(0.5 - first, 0) * 5 + noise, np.maximum(first - 0.5, 0) * 5], 1)
    front = front_of(static, np.stack([first, 1 - first], axis=1))
    found = margins(np.array([[0.0, 1.2]]), front)
    assert found.inside[0]
    assert found.amount[0] == pytest.approx(-0.1, abs=0.01)
    assert found.smooth[0] == pytest.approx(0.0, abs=0.01)
    far = margins(np.array([[0.5, 1.2], [2.0, 2.0], [5.0, -1.0]]), front)
    assert (far.smooth >= far.amount).all()
    assert far.smooth[0] == pytest.approx(-0.5, abs=0.05)
    # Without weights there is no smooth front.
    plain = margins(np.array([[0.0, 1.2]]), front_of(static))
    assert plain.smooth[0] == plain.amount[0]


def exact(weights):
    problem = example()
    losses = problem.losses(np.array([problem.scalarize(w) for w in weights]))
    return losses / np.ptp(problem.losses(problem.centers), axis=0)


def test_weightings_between_grid_points_lie_on_the_smooth_front():
    grid = np.linspace(0.1, 0.9, 5)
    both = np.stack([grid, 1 - grid], axis=1)
    between = exact(np.linspace(0.12, 0.88, 17))
    curve, chords = front_of(exact(grid), both), front_of(exact(grid))
    error, gap = (np.abs(margins(between, front).amount).max() for front in (curve, chords))
    assert error < gap / 2
    # Points that are better by an amount in every task have that margin.
    found = margins(between - 0.1, curve)
    assert found.amount == pytest.approx(np.full(17, 0.1), abs=0.01)


def test_points_beyond_the_ends_are_marked_as_outside():
    grid = np.linspace(0.3, 0.7, 5)
    curve = front_of(exact(grid), np.stack([grid, 1 - grid], axis=1))
    outside = margins(exact([0.1, 0.2, 0.8, 0.9]), curve)
    assert not outside.inside.any()
    assert (outside.least == outside.amount).all()
    assert (outside.amount <= 1e-9).all()
    assert (outside.corner > 0).all()


def test_margins_do_not_depend_on_the_order_of_models_and_tasks():
    generator = np.random.default_rng(0)
    grid = np.linspace(0.1, 0.9, 9)
    noisy = exact(grid) + generator.normal(0, 0.05, (9, 2))
    weights, points = np.stack([grid, 1 - grid], axis=1), exact([0.33, 0.66])
    plain = margins(points, front_of(noisy, weights)).amount
    order = generator.permutation(9)
    assert margins(points, front_of(noisy[order], weights[order])).amount == pytest.approx(plain)
    turned = margins(points[:, ::-1], front_of(noisy[:, ::-1], weights[:, ::-1])).amount
    assert turned == pytest.approx(plain)


def test_repeated_weightings_are_averaged():
    grid = np.linspace(0.1, 0.9, 9)
    weights = np.stack([grid, 1 - grid], axis=1)
    twice = np.concatenate([exact(grid) + 0.02, exact(grid) - 0.02])
    curve = front_of(twice, np.concatenate([weights, weights]))
    # Chords through the lower models only would be below the curve of the means.
    amounts = margins(exact(grid[1:-1]), curve).amount
    assert (amounts < 0).all()


def test_three_tasks_have_a_smooth_surface():
    generator = np.random.default_rng(0)
    matrices = np.array([np.eye(4) * scale for scale in (1.0, 1.5, 2.0)])
    centers = generator.normal(size=(3, 4))

    def losses(weights):
        right = np.einsum("nk,kpq,kq->np", weights, matrices, centers)
        x = np.linalg.solve(np.einsum("nk,kpq->npq", weights, matrices), right[..., None])[..., 0]
        away = x[:, None] - centers
        return 0.5 * np.einsum("nkp,kpq,nkq->nk", away, matrices, away)

    grid = np.array([[i, j, 6 - i - j] for i in range(1, 5) for j in range(1, 6 - i)]) / 6
    between = np.array([[0.3, 0.3, 0.4], [0.4, 0.35, 0.25], [0.45, 0.25, 0.3]])
    scale = widths(losses(grid))
    points = losses(between) / scale
    surface, chords = (front_of(losses(grid) / scale, weights) for weights in (grid, None))
    smooth, rough = (np.abs(margins(points, front).amount) for front in (surface, chords))
    assert smooth.mean() < 0.75 * rough.mean()
    assert margins(points, surface).inside.all()
    assert margins(points - 0.1, surface).amount == pytest.approx(np.full(3, 0.1), abs=0.02)


def test_least_margin_beyond_the_front_compares_with_every_model():
    front = front_of(FRONT[1:3])
    found = margins(np.array([[1.0, 20.0], [-3.0, 2.0], [-1.0, -20.0]]), front)
    assert not found.inside.any()
    assert found.least.tolist() == [3 - 20, 1, 3]


@pytest.mark.parametrize("number", [1, 2])
def test_fronts_of_one_or_two_models(number):
    front = front_of(FRONT[:number])
    assert margins(FRONT[:1] - 1, front).corner[0] == 1
    weights = np.array([[0.2, 0.8], [0.8, 0.2]])[:number]
    assert np.isfinite(margins(FRONT[:1] - 1, front_of(FRONT[:number], weights)).amount).all()


def test_widths_are_those_of_the_front():
    assert widths(FRONT).tolist() == [10, 10]
    assert widths(np.append(FRONT, [[99.0, 99.0]], axis=0)).tolist() == [10, 10]
    assert widths(np.array([[0.0, 0.0], [3.0, 2.0]])).tolist() == [3, 2]
    assert widths(np.array([[1.0, 2.0]])).tolist() == [1, 1]


STEADY = np.array([[0.0, 1.0], [0.2, 0.5], [0.5, 0.2], [0.8, 0.1]])


@pytest.mark.parametrize("away", [-0.01, 0.01])
def test_hinge_detects_an_end_that_is_barely_dominated_or_not(away):
    """It is slightly better or worse than the best model in its own task, and bad in the other."""
    points = np.vstack([STEADY, [away, 2.0]])
    found = hinge(points, close=0.05)
    assert found.model == 4
    assert np.sign(found.amount) == -np.sign(away)
    # The reported width is that of the other case.
    np.testing.assert_allclose(found.width, widths(np.vstack([STEADY, [-away, 2.0]])), atol=0.02)
    assert hinge(points * [3.0, 0.1], close=0.05).model == 4  # Independent of units.
    assert hinge(points, close=0.001) is None
    assert hinge(STEADY, close=0.01) is None
    assert hinge(np.vstack([STEADY, [0.9, 0.9]]), close=0.05) is None


@pytest.mark.filterwarnings("error")
def test_hinge_of_tied_models_has_no_zero_width():
    """A metric may be the same in all models, or in two of which one is on the front."""
    assert hinge(np.array([[1.0, 0.1], [1.0, 0.5], [1.0, 0.9]]), close=0.05) is None
    found = hinge(np.array([[0.0, 0.0], [0.0, 0.5], [1.0, 1.0]]), close=0.05)
    assert found.width.tolist() == [1.0, 0.5]
