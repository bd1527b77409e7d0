"""The solvers against SciPy, and the methods against their own definitions."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from mtk import combiners
from mtk.combiners.solvers import (
    active_set,
    fair_shares,
    first_order,
    interior_point,
    max_min,
    quadratic,
    scaling,
)
from tests.combiners import properties, samples
from tests.combiners.cases import Case, Runner, runner
from tests.quick import some

# `test_contract.py` traces two and five tasks, too. `test_pair.py` tests the closed form for two.
SIZES, QUICK = [2, 3, 5, 8, 40], [5, 40]
REGULAR = ["aligned", "conflicting", "opposed", "orthogonal", "spread"]


def inputs(kind: str, num_tasks: int) -> list[np.ndarray]:
    seeds = range(2) if num_tasks == 40 else range(6)
    return [samples.jacobian(kind, num_tasks, seed).astype(np.float64) for seed in seeds]


@functools.cache
def cagrad(c: float, num_tasks: int) -> Runner:
    return Runner(Case("", lambda: combiners.CAGrad(c, rescale="none")), num_tasks)


def shortest_in_hull(rows: np.ndarray, unit: float) -> np.ndarray:
    """The simplex constraint is one more row of a non-negative least-squares problem."""
    system = np.vstack([rows.T / unit, np.ones(len(rows))])
    solution = optimize.nnls(system, np.eye(len(system))[-1])[0]
    return solution / solution.sum() @ rows


def dependent(kind: str, num_tasks: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, num_tasks])
    size = max(12, 3 * num_tasks // 2)
    if kind == "half rank":
        half = num_tasks // 2
        rows = rng.normal(size=(num_tasks, half)) @ rng.normal(size=(half, size))
    else:
        rows = rng.normal(size=(num_tasks, size))
        rows[-1] = -rows[0]
    return rows.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("kind", ["half rank", "opposite pair"])
@pytest.mark.parametrize("num_tasks", some(SIZES, QUICK))
def test_mgda_is_the_shortest_vector_in_the_hull_of_dependent_gradients(kind, num_tasks):
    for rows in (dependent(kind, num_tasks, seed) for seed in range(6)):
        unit = properties.lengths(rows).max()
        shortest = shortest_in_hull(rows, unit)
        found = runner("mgda", num_tasks)(rows).weights @ rows
        np.testing.assert_allclose(found, shortest, atol=1e-5 * unit)


@pytest.mark.parametrize("kind", samples.KINDS)
@pytest.mark.parametrize("num_tasks", some(SIZES, QUICK))
def test_mgda_is_the_shortest_vector_in_the_hull(kind, num_tasks):
    for rows in inputs(kind, num_tasks):
        unit = properties.lengths(rows).min() or 1.0
        shortest = shortest_in_hull(rows, unit)
        found = runner("mgda", num_tasks)(rows).weights @ rows
        atol = 1e-5 * (np.linalg.norm(shortest) + unit)
        np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(shortest), atol=atol)
        # The minimum: no gradient has a smaller product with it than itself.
        products = rows @ found - found @ found
        assert (products >= -1e-5 * np.linalg.norm(found) * properties.lengths(rows) - atol).all()


@pytest.mark.parametrize("kind", samples.KINDS)
@pytest.mark.parametrize("num_tasks", some(SIZES, QUICK))
def test_upgrad_projects_on_the_dual_cone(kind, num_tasks):
    for rows in inputs(kind, num_tasks):
        lengths = properties.lengths(rows)
        units = rows / np.maximum(lengths, 1e-30)[:, None]
        added = [optimize.nnls(units.T, -unit)[0] for unit in units]
        projections = (units + np.array(added) @ units) * lengths[:, None]
        found = runner("upgrad", num_tasks)(rows)
        scale = lengths.mean() + np.abs(found.weights) @ lengths
        expected = projections.mean(0)
        np.testing.assert_allclose(found.weights @ rows, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("num_tasks", some(SIZES, QUICK))
def test_nash_solves_its_equation(kind, num_tasks):
    for rows in inputs(kind, num_tasks):
        weights = runner("nash paper", num_tasks)(rows).weights.astype(np.float64)
        assert (weights > 0).all()
        np.testing.assert_allclose(weights * (rows @ rows.T @ weights), 1.0, atol=1e-4)
        lengths = properties.lengths(rows)
        cosines = rows @ rows.T / np.outer(lengths, lengths)
        independent = optimize.minimize(
            lambda s, c=cosines: 0.5 * np.exp(s) @ c @ np.exp(s) - s.sum(),
            np.zeros(num_tasks),
            method="BFGS",
            options={"gtol": 1e-9},
        )
        np.testing.assert_allclose(weights * lengths, np.exp(independent.x), rtol=1e-4)


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("num_tasks", some([2, 5, 8, 40], [2, 5]))
@pytest.mark.parametrize("c", [0.4, 1.0, 4.0])
def test_cagrad_reaches_its_upper_bound(kind, num_tasks, c):
    """The direction is within the ball, and reaches the upper bound that a mixture gives.

    For any `d` in the ball and any `w` on the simplex `min_i g_i . d <= g_w . g_0 + c |g_0| |g_w|`.
    Here `w` is the mixture that is added to the mean, `d - g_0 = c |g_0| g_w / |g_w|`.
    """
    run = cagrad(c, num_tasks)
    for rows in inputs(kind, num_tasks):
        weights = run(rows).weights.astype(np.float64)
        direction, mean = weights @ rows, rows.mean(0)
        radius = c * np.linalg.norm(mean)
        assert np.linalg.norm(direction - mean) <= radius * (1 + 1e-5)
        beyond = np.maximum(weights - 1 / num_tasks, 0.0)
        mixture = beyond / beyond.sum() @ rows
        bound = mixture @ mean + radius * np.linalg.norm(mixture)
        worst = (rows @ direction).min()
        scale = np.linalg.norm(direction) * properties.lengths(rows).max()
        assert worst <= bound + 1e-5 * scale
        assert worst >= bound - 1e-5 * scale


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("num_tasks", [2, 5])
@pytest.mark.parametrize("c", [0.4, 1.0, 4.0])
def test_cagrad_has_no_duality_gap(kind, num_tasks, c):
    """Any point of the simplex bounds the worst improvement; SciPy finds one that meets it."""
    run = cagrad(c, num_tasks)
    for rows in inputs(kind, num_tasks)[:4]:
        direction = run(rows).weights.astype(np.float64) @ rows
        mean = rows.mean(0)
        size = np.linalg.norm(mean)
        assert np.linalg.norm(direction - mean) <= c * size * (1 + 1e-5)

        def bound(w, rows=rows, mean=mean, size=size):
            return w @ rows @ mean + c * size * np.linalg.norm(w @ rows)

        starts = [np.full(num_tasks, 1 / num_tasks), *(0.9 * np.eye(num_tasks) + 0.1 / num_tasks)]
        scale = size * properties.lengths(rows).max()
        found = [
            optimize.minimize(
                lambda w, bound=bound, scale=scale: bound(w) / scale,
                start,
                method="SLSQP",
                bounds=[(0, 1)] * num_tasks,
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                options={"ftol": 1e-15, "maxiter": 500},
            )
            for start in starts
        ]
        least = min(bound(np.maximum(r.x, 0) / np.maximum(r.x, 0).sum()) for r in found)
        assert (rows @ direction).min() >= least - 1e-5 * scale


@pytest.mark.parametrize("name", ["imtl_g", "imtl"])
@pytest.mark.parametrize("num_tasks", some([2, 3, 5, 8], [2, 5]))
@pytest.mark.parametrize("kind", ["aligned", "orthogonal", "opposed"])
def test_imtl_g_has_equal_projections(name, kind, num_tasks):
    for rows in inputs(kind, num_tasks):
        weights = runner(name, num_tasks)(rows).weights.astype(np.float64)
        lengths = properties.lengths(rows)
        projections = rows @ (weights @ rows) / lengths
        np.testing.assert_allclose(weights.sum(), 1.0, atol=1e-4 * np.abs(weights).sum())
        spread = 1e-4 * np.abs(weights) @ lengths
        np.testing.assert_allclose(projections, projections[0], atol=spread)
        # The closed form, for independent gradients.
        closed = np.linalg.solve(rows @ rows.T, lengths)
        np.testing.assert_allclose(weights, closed / closed.sum(), rtol=2e-3)


@pytest.mark.parametrize("num_tasks", some(SIZES, QUICK))
@pytest.mark.parametrize("kind", REGULAR)
def test_aligned_mtl_equals_its_definition(kind, num_tasks):
    """The reference uses the SVD of the gradients instead of the Gramian."""
    for rows in inputs(kind, num_tasks):
        left, values, right = np.linalg.svd(rows, full_matrices=False)
        expected = values.min() * (left @ right).mean(0)
        direction = runner("aligned", num_tasks)(rows).weights @ rows
        np.testing.assert_allclose(direction, expected, atol=1e-3 * values.min())


@pytest.mark.parametrize("kind", ["aligned", "conflicting", "orthogonal", "opposed"])
def test_two_tasks(kind):
    """Known results for two tasks."""
    for rows in inputs(kind, 2):
        units = rows / properties.lengths(rows)[:, None]
        bisector = units.sum(0) / np.linalg.norm(units.sum(0))
        for name in ("imtl_g", "nash", "nash unclipped", "nash mean", "nash paper"):
            direction = runner(name, 2)(rows).direction
            np.testing.assert_allclose(direction / np.linalg.norm(direction), bisector, atol=1e-4)
        half = runner("mgda l2", 2)(rows).direction
        np.testing.assert_allclose(half, rows.mean(0), atol=1e-5)
        pcgrad, upgrad = runner("pcgrad", 2)(rows), runner("upgrad", 2)(rows)
        np.testing.assert_allclose(pcgrad.direction, upgrad.direction, atol=1e-5)


@pytest.mark.parametrize("num_tasks", some([2, 3, 5, 8], [2, 5]))
def test_nash_has_length_root_k(num_tasks):
    for rows in inputs("conflicting", num_tasks):
        direction = runner("nash paper", num_tasks)(rows).direction
        np.testing.assert_allclose(np.linalg.norm(direction), num_tasks**0.5, rtol=1e-4)


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("num_tasks", some(SIZES, QUICK))
def test_nash_at_the_authors_scale(kind, num_tasks):
    """`G w = |G|_F / w`, then clipped to a norm of one; heads use w before clipping."""
    everyone = tf.ones(num_tasks, tf.bool)
    for seed, rows in enumerate(inputs(kind, num_tasks)):
        rows = rows * 10.0 ** (seed - 3)
        run = runner("nash unclipped", num_tasks)
        weights = run(rows).weights.astype(np.float64)
        gramian = rows @ rows.T
        product = weights * (gramian @ weights) / np.linalg.norm(gramian)
        np.testing.assert_allclose(product, 1.0, atol=2e-4)
        np.testing.assert_allclose(run.combiner.head_weights(weights, everyone), weights, rtol=1e-6)
        run = runner("nash", num_tasks)
        clipped = run(rows)
        norm = np.linalg.norm(weights @ rows)
        np.testing.assert_allclose(clipped.weights * max(norm, 1.0), weights, rtol=1e-4)
        assert np.linalg.norm(clipped.direction) <= 1 + 1e-5
        heads = run.combiner.head_weights(tf.constant(clipped.weights), everyone)
        np.testing.assert_allclose(heads, weights, rtol=1e-4)


@pytest.mark.parametrize("num_tasks", some([1, 2, 3, 5, 8], [1, 2, 5]))
def test_nash_of_equal_gradients(num_tasks):
    """Norms by scale: of the sum, of the sum clipped to one, of the mean, and sqrt(K)."""
    for size in (1e-6, 1e-2, 1.0, 1e4):
        row = samples.jacobian("conflicting", 2)[0]
        row *= size / np.linalg.norm(row)
        rows = np.tile(row, (num_tasks, 1))
        lengths = {
            "nash unclipped": num_tasks * size,
            "nash": min(num_tasks * size, 1.0),
            "nash mean": size,
            "nash paper": num_tasks**0.5,
        }
        for name, length in lengths.items():
            found = runner(name, num_tasks)(rows).direction
            np.testing.assert_allclose(found, row / size * length, atol=1e-4 * length)


def test_nash_gives_weight_to_heads_without_gradient():
    """A zero head gives a zero gradient: its head weight is the authors' initial value."""
    rows = samples.jacobian("zero row", 5)
    run = runner("nash", 5)
    weights = run(rows).weights
    heads = run.combiner.head_weights(tf.constant(weights), tf.constant([True] * 5)).numpy()
    assert weights[0] == 0
    assert heads[0] == 1
    assert (heads[1:] > 0).all()
    absent = run.combiner.head_weights(tf.constant(weights), tf.constant([False] + [True] * 4))
    assert absent[0] == 0


@functools.cache
def small_cagrad(c: float, num_tasks: int):
    combiner = combiners.CAGrad(c, rescale="none")
    combiner.build(num_tasks)
    everyone = tf.ones(num_tasks, tf.bool)
    # In float64, to exclude the rounding of a float32 Gramian.
    step = tf.function(
        lambda g: combiner.task_weights(g, tf.ones(num_tasks), everyone), autograph=False
    )
    return combiner, step


@pytest.mark.parametrize("span", [0, 2, 4])
@pytest.mark.parametrize("num_tasks", some([3, 5, 8, 40], [5]))
@pytest.mark.parametrize("c", some([0.02, 0.1, 0.4], [0.1]))
def test_cagrad_reaches_the_optimum_in_small_balls(c, num_tasks, span):
    """Pitfall: an iteration limit that is reached silently. Norms are 1e-4 ... 1e4.

    As in `test_cagrad_reaches_its_upper_bound`, but relative to the improvement of the best
    direction over the mean gradient.
    """
    combiner, step = small_cagrad(c, num_tasks)
    for seed in range(4):
        rng = np.random.default_rng([seed, num_tasks, span])
        rows = rng.normal(size=(num_tasks, 3 * num_tasks)) - 0.3 * rng.normal(size=3 * num_tasks)
        rows *= 10 ** rng.uniform(-span, span, (num_tasks, 1))
        weights = step(tf.constant(rows @ rows.T)).numpy().astype(np.float64)
        direction, mean = weights @ rows, rows.mean(0)
        radius = c * np.linalg.norm(mean)
        assert np.linalg.norm(direction - mean) <= radius * (1 + 1e-5)
        beyond = np.maximum(weights - 1 / num_tasks, 0.0)
        # Differences of the size of the rounding of 1 / K are not weights.
        beyond[beyond < 1e-6 * weights] = 0.0
        mixture = beyond / beyond.sum() @ rows
        bound = mixture @ mean + radius * np.linalg.norm(mixture)
        improvement = bound - (rows @ mean).min()
        assert (rows @ direction).min() >= bound - 1e-3 * improvement
    assert combiner.unsolved.numpy() == 0


SOLVED = ["mgda", "mgda l2", "cagrad", "cagrad wide", "upgrad", "dualproj", "fairgrad"]


@pytest.mark.parametrize("name", some(SOLVED, ["mgda", "cagrad", "upgrad", "fairgrad"]))
@pytest.mark.parametrize("kind", samples.KINDS)
def test_solvers_converge(name, kind):
    for num_tasks in (5, 40):
        run = runner(name, num_tasks)
        for rows in inputs(kind, num_tasks):
            run(rows)
            assert run.combiner.unsolved.numpy() == 0


@pytest.fixture
def eager_functions():
    """Runs solvers eagerly, so that no traced graph contains the patched constants."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eager_functions")
def test_unsolved_steps_are_counted(monkeypatch):
    """A step that reaches an iteration limit increments a variable of the combiner."""
    monkeypatch.setattr(max_min, "MOST_ITERATIONS", 3)
    monkeypatch.setattr(interior_point, "MOST_ITERATIONS", 1)
    monkeypatch.setattr(active_set, "MOST_GUESSES", 0)
    monkeypatch.setattr(first_order, "MOST_ROUNDS", 0)
    rows = samples.jacobian("conflicting", 5)
    for make in (combiners.CAGrad, combiners.MGDA, combiners.UPGrad, combiners.DualProj):
        run = Runner(Case("", make), 5, eager=True)  # A few iterations take less time than tracing.
        for steps in (1, 2):
            properties.assert_finite(run.again(rows), rows)
            assert run.combiner.unsolved.numpy() == steps


@pytest.mark.parametrize("kind", [*samples.KINDS, "dependent"])
def test_first_order_solver_equals_interior_point_solver(kind):
    """The first-order method for many tasks equals the interior-point method."""
    num_tasks = 60
    if kind == "dependent":
        rng = np.random.default_rng(3)
        rows = rng.normal(size=(num_tasks, 20)) @ rng.normal(size=(20, 90))
    else:
        rows = samples.jacobian(kind, num_tasks).astype(np.float64)
    scaled = scaling.scale(tf.constant(rows @ rows.T), tf.ones(num_tasks, tf.bool))
    linear = scaled.cosines + tf.cast(~scaled.directed, tf.float64)
    found, right = first_order.descend(scaled.cosines, linear)
    assert (found.numpy() >= 0).all()
    expected, _ = quadratic._nonnegative(scaled.cosines, linear)
    root = np.linalg.cholesky(scaled.cosines + 1e-13 * np.eye(num_tasks))
    np.testing.assert_allclose(found @ root, expected @ root, atol=1e-5)
    assert right


SOLVERS = {
    combiners.MGDA: quadratic.nearest_to_zero,
    combiners.UPGrad: quadratic.dual_cone_projection,
    combiners.CAGrad: max_min.dual,
    combiners.NashMTL: fair_shares.fair_shares,
}


@pytest.mark.parametrize("make", SOLVERS)
def test_graph_of_a_solver_is_reused(make):
    """Tracing a solver takes longer than tracing the rest of a small model's step."""
    rows = samples.jacobian("conflicting", 4)
    Runner(Case("", make), 4)(rows)
    traced = SOLVERS[make].experimental_get_tracing_count()
    Runner(Case("", make), 4)(rows)
    assert SOLVERS[make].experimental_get_tracing_count() == traced > 0


DOUBLE = {
    combiners.MGDA: "mgda",
    combiners.CAGrad: "cagrad",
    combiners.NashMTL: "nash",
    combiners.UPGrad: "upgrad",
    combiners.IMTLG: "imtl_g",
    combiners.DualProj: "dualproj",
    combiners.ConFIG: "config",
    combiners.FairGrad: "fairgrad",
}


# DualProj uses the solver of UPGrad, FairGrad that of Nash-MTL.
SAME_SOLVER = {combiners.DualProj, combiners.FairGrad}


@pytest.mark.parametrize("make", some(DOUBLE, DOUBLE.keys() - SAME_SOLVER))
@pytest.mark.parametrize("num_tasks", some([2, 3, 5], [5]))
def test_solvers_in_float32(make, num_tasks, monkeypatch):
    """TPUs have no float64."""
    kinds = ["aligned", "conflicting", "opposed", "rank one", "zero row"]
    inputs = [samples.jacobian(kind, num_tasks) for kind in kinds]
    double = runner(DOUBLE[make], num_tasks)
    expected = [double(rows).direction for rows in inputs]
    monkeypatch.setattr(scaling, "solver_dtype", lambda: tf.float32)
    single = Runner(Case("", make), num_tasks)
    for kind, rows, direction in zip(kinds, inputs, expected, strict=True):
        size = np.abs(direction).max() + 1e-3 * np.abs(rows).max()
        found = single(rows).direction
        np.testing.assert_allclose(found, direction, atol=5e-3 * size, err_msg=kind)
