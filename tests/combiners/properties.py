"""The properties of `algorithms.md`, one assertion each."""

import numpy as np

from tests.combiners.cases import Outcome, Runner


def lengths(jacobian: np.ndarray) -> np.ndarray:
    return np.linalg.norm(jacobian.astype(np.float64), axis=1)


def rounding(outcome: Outcome, jacobian: np.ndarray) -> float:
    """Returns the rounding error of a weighted sum in float32."""
    return 1e-6 * float(np.abs(outcome.weights) @ lengths(jacobian)) + 1e-30


def assert_finite(outcome: Outcome, jacobian: np.ndarray) -> None:
    assert outcome.direction.shape == jacobian.shape[1:]
    assert outcome.weights.shape == jacobian.shape[:1]
    assert np.isfinite(outcome.direction).all()
    assert np.isfinite(outcome.weights).all()


def assert_mean_scale(run: Runner, row: np.ndarray, num_tasks: int) -> None:
    """K equal gradients g give g."""
    outcome = run(np.tile(row, (num_tasks, 1)))
    np.testing.assert_allclose(outcome.direction, row, atol=2e-5 * np.abs(row).max())


def assert_permutes(run: Runner, jacobian: np.ndarray, losses: np.ndarray) -> None:
    """Permuting the tasks permutes the weights and does not change the direction."""
    order = np.random.default_rng(0).permutation(len(jacobian))
    plain, permuted = run(jacobian, losses), run(jacobian[order], losses[order])
    size = np.abs(plain.direction).max() + rounding(plain, jacobian)
    np.testing.assert_allclose(permuted.direction, plain.direction, atol=1e-3 * size)
    largest = np.abs(plain.weights).max()
    np.testing.assert_allclose(permuted.weights, plain.weights[order], atol=2e-3 * largest)


def assert_permutes_in_distribution(run: Runner, jacobians: list[np.ndarray]) -> None:
    """Permuting the tasks permutes means and mean squares, within the variance of blocks of steps.

    The steps cycle through the Jacobians: GradVac's targets would adapt to a single one.
    """
    order = np.roll(np.arange(len(jacobians[0])), 1)
    plain = _moments(run, jacobians, 0, np.arange(len(order)))
    permuted = _moments(run, [rows[order] for rows in jacobians], 10_000, np.argsort(order))
    error = np.sqrt((plain.var(0) + permuted.var(0)) / (len(plain) - 1))
    size = np.abs(plain).max()
    assert (np.abs(permuted.mean(0) - plain.mean(0)) <= 5 * error + 1e-5 * size).all()


def _moments(run: Runner, jacobians: list[np.ndarray], first: int, order: np.ndarray) -> np.ndarray:
    """Returns the means of weights (in `order`), direction and their squares, one row per block.

    Starts from the initial state, with the random numbers of step `first`.
    """
    run.restart()
    run.combiner.random_keys.step.assign(first)
    outcomes = [run.again(jacobians[step % len(jacobians)]) for step in range(600)]
    values = np.array([[*outcome.weights[order], *outcome.direction] for outcome in outcomes])
    return np.concatenate([values, values**2], 1).reshape(20, 30, -1).mean(1)


def assert_homogeneous(run: Runner, jacobian: np.ndarray, losses: np.ndarray, by: float) -> None:
    """Scaling all gradients scales the result."""
    plain, scaled = run(jacobian, losses), run((jacobian * by).astype(np.float32), losses)
    size = np.abs(plain.direction).max() + rounding(plain, jacobian)
    np.testing.assert_allclose(scaled.direction / by, plain.direction, atol=1e-3 * size)


def assert_non_conflicting(outcome: Outcome, jacobian: np.ndarray) -> None:
    """The direction conflicts with no gradient: `d . g_i >= -1e-5 |d| |g_i|`, up to rounding."""
    exact = outcome.weights.astype(np.float64) @ jacobian.astype(np.float64)
    products = jacobian.astype(np.float64) @ exact
    least = -1e-5 * np.linalg.norm(exact) - rounding(outcome, jacobian)
    assert (products >= least * lengths(jacobian)).all()


def assert_weighted_sum(outcome: Outcome, jacobian: np.ndarray) -> None:
    """The direction is the sum of the gradients, weighted as reported."""
    expected = outcome.weights.astype(np.float64) @ jacobian.astype(np.float64)
    atol = 10 * rounding(outcome, jacobian)
    np.testing.assert_allclose(outcome.direction, expected, atol=atol)


def assert_ignores_absent_tasks(
    run: Runner, smaller: Runner, jacobian: np.ndarray, losses: np.ndarray, present: np.ndarray
) -> None:
    """Absent tasks have no effect: the others get what they get without them."""
    zeroed = jacobian * present[:, None]
    full = run(zeroed, losses * present, present, steps=3)
    less = smaller(jacobian[present], losses[present], steps=3)
    assert (full.weights[~present] == 0).all()
    size = np.abs(less.direction).max() + 10 * rounding(less, jacobian[present])
    np.testing.assert_allclose(full.direction, less.direction, atol=1e-4 * size)
    largest = np.abs(less.weights).max()
    np.testing.assert_allclose(full.weights[present], less.weights, atol=1e-4 * largest)
