"""Directions of Gramian methods equal independent solutions from the gradients in float64."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from mtk import combiners
from mtk.combiners.solvers.fair_shares import fair_shares
from tests.combiners import samples
from tests.quick import some


def lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, axis=1)


def dual_projection(rows: np.ndarray) -> np.ndarray:
    """Subtracts the projection on the negative cone (Moreau), computed by least squares."""
    mean = rows.mean(0)
    units = rows / np.maximum(lengths(rows), 1e-300)[:, None]
    size = np.linalg.norm(mean)
    return mean + size * optimize.nnls(units.T, -mean / size)[0] @ units


def conflict_free(rows: np.ndarray) -> np.ndarray:
    """Equation 2 of the paper: the pseudo-inverse of the unit gradients themselves."""
    sizes = lengths(rows)
    units = np.divide(rows, sizes[:, None], where=sizes[:, None] > 0, out=np.zeros_like(rows))
    direction = np.linalg.pinv(units, rcond=1e-3) @ np.ones(len(rows))
    direction /= np.linalg.norm(direction)
    return (rows @ direction).sum() * direction / len(rows)


def inverse_norms(rows: np.ndarray) -> np.ndarray:
    inverse = np.divide(1.0, lengths(rows), where=lengths(rows) > 0, out=np.zeros(len(rows)))
    return inverse @ rows / inverse.sum()


def fair(rows: np.ndarray, alpha: float) -> np.ndarray:
    """Maximizes the utility of the improvements by a trust-region method on `log(w)`."""
    sizes = lengths(rows)
    unit = np.exp(np.log(sizes).mean())
    gramian = rows @ rows.T / unit**2
    e = 1 / alpha

    def objective(s: np.ndarray) -> tuple[float, np.ndarray]:
        w = np.exp(s)
        utility = s.sum() if alpha == 1 else (w ** (1 - e)).sum() / (1 - e)
        return 0.5 * w @ gramian @ w - utility, w * (gramian @ w) - w ** (1 - e)

    def curvature(s: np.ndarray) -> np.ndarray:
        w = np.exp(s)
        return w[:, None] * gramian * w + np.diag(w * (gramian @ w) - (1 - e) * w ** (1 - e))

    start = -2 / (1 + e) * np.log(sizes / unit)
    found = optimize.minimize(
        objective, start, jac=True, hess=curvature, method="trust-exact", options={"gtol": 1e-11}
    )
    w = np.exp(found.x)
    return w @ rows / w.sum()


METHODS = {
    "dualproj": (combiners.DualProj, dual_projection),
    "config": (combiners.ConFIG, conflict_free),
    "ign": (combiners.IGN, inverse_norms),
    "fairgrad": (combiners.FairGrad, lambda rows: fair(rows, 2.0)),
    "fairgrad half": (lambda: combiners.FairGrad(0.5), lambda rows: fair(rows, 0.5)),
    "fairgrad five": (lambda: combiners.FairGrad(5.0), lambda rows: fair(rows, 5.0)),
    "nash": (lambda: combiners.NashMTL("mean"), lambda rows: fair(rows, 1.0)),
}
NEEDS_INDEPENDENT = {name for name in METHODS if name.startswith(("fair", "nash"))}


@functools.cache
def solver(name: str, num_tasks: int):
    combiner = METHODS[name][0]()
    combiner.build(num_tasks)
    everyone = tf.ones(num_tasks, tf.bool)
    return tf.function(
        lambda g: combiner.task_weights(g, tf.ones(num_tasks), everyone), autograph=False
    )


def inputs(kind: str, num_tasks: int):
    """Yields gradients of several scales, also with different norms among the tasks."""
    for seed, scale in enumerate((1e-10, 1e-5, 1.0, 1e5, 1e10)):
        rows = samples.jacobian(kind, num_tasks, seed).astype(np.float64)
        yield rows * scale
        if kind not in ("zero row", "spread"):
            sizes = np.random.default_rng([seed, num_tasks]).uniform(-2, 2, (num_tasks, 1))
            yield rows * scale * 10**sizes


@pytest.mark.parametrize("kind", samples.KINDS)
@pytest.mark.parametrize("num_tasks", some([2, 5, 13, 40], [5]))
@pytest.mark.parametrize("name", METHODS)
def test_direction_equals_independent_solution(name, num_tasks, kind):
    if name in NEEDS_INDEPENDENT and kind in ("zero row", "rank one"):
        pytest.skip("Not independent: BFGS stops short.")
    solve, by_other_means = solver(name, num_tasks), METHODS[name][1]
    for rows in inputs(kind, num_tasks):
        weights = solve(tf.constant(rows @ rows.T)).numpy().astype(np.float64)
        expected = by_other_means(rows)
        scale = np.abs(weights) @ lengths(rows) + lengths(rows).mean()
        np.testing.assert_allclose(weights @ rows, expected, atol=1e-5 * scale)


@functools.cache
def shares(num_tasks: int, alpha: float):
    return tf.function(lambda c, demands: fair_shares(c, demands, 1 / alpha), autograph=False)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("num_tasks", some([2, 3, 8, 40], [3, 40]))
def test_fair_shares_solve_their_equation(num_tasks, alpha):
    """The equation of FairGrad and of Nash-MTL, with preferences of different size."""
    for kind in ("aligned", "conflicting", "opposed", "orthogonal", "spread"):
        for seed, rows in enumerate(inputs(kind, num_tasks)):
            sizes = lengths(rows)
            demands = np.random.default_rng(seed).uniform(0.1, 10, num_tasks) ** (1 / alpha)
            demands *= (sizes / np.exp(np.log(sizes).mean())) ** (1 / alpha - 1)
            cosines = rows @ rows.T / np.outer(sizes, sizes)
            found, solved = shares(num_tasks, alpha)(tf.constant(cosines), tf.constant(demands))
            assert solved
            found = found.numpy()
            assert (found > 0).all()
            # Where gradients are opposed, large terms cancel, and their rounding remains.
            got, terms = (each @ found * found ** (1 / alpha) for each in (cosines, abs(cosines)))
            assert (np.abs(got - demands) <= 1e-12 * demands + 5e-15 * terms).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 5.0, None])
@pytest.mark.parametrize("num_tasks", some([2, 3, 8, 40], [3, 40]))
def test_weights_solve_the_equation(num_tasks, alpha):
    """The equation of FairGrad or Nash-MTL holds up to rounding of the weights to float32.

    The error grows with the cancellation in `G w`, up to 1e-4 of a product for norms 1e-2 ... 1e2.
    """
    combiner = combiners.FairGrad(alpha, "paper") if alpha else combiners.NashMTL("paper")
    power = 1 / (alpha or 1.0)
    combiner.build(num_tasks)
    everyone = tf.ones(num_tasks, tf.bool)
    solve = tf.function(
        lambda g: combiner.task_weights(g, tf.ones(num_tasks), everyone), autograph=False
    )
    for kind in ("aligned", "conflicting", "opposed", "orthogonal", "spread"):
        for rows in inputs(kind, num_tasks):
            gramian = rows @ rows.T
            weights = solve(tf.constant(gramian)).numpy().astype(np.float64)
            assert (weights > 0).all()
            products, demands = gramian @ weights, weights**-power
            # Half a unit of float32's last place in each weight, and 1e-9 for the solver.
            bound = 6e-8 * (np.abs(gramian) @ weights + power * demands) + 1e-9 * demands
            assert (np.abs(products - demands) <= bound).all()
    assert alpha is None or combiner.unsolved.numpy() == 0
