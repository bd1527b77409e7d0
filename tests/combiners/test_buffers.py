"""Methods with state of the size of the gradients, compared with NumPy implementations."""

import numpy as np
import pytest
import tensorflow as tf

from mtk import combiners
from mtk.combiners.solvers.simplex import project
from tests.combiners import samples
from tests.combiners.cases import Case, Runner

STEPS = 5


def history(combiner, losses=None, num_tasks=3):
    """Returns the outcomes of steps with different gradients, and the inputs."""
    run = Runner(Case("", lambda: combiner), num_tasks)
    rows = [samples.jacobian("conflicting", num_tasks, seed) for seed in range(STEPS)]
    losses = [samples.losses(num_tasks, seed) for seed in range(STEPS)]
    outcomes = [run.again(*given) for given in zip(rows, losses, strict=True)]
    return outcomes, [each.astype(float) for each in rows], losses


@pytest.mark.parametrize(("beta", "sigma"), [(0.9, 0.0), (0.5, 0.5), (0.0, 0.0)])
def test_db_mtl(beta, sigma):
    outcomes, rows, losses = history(combiners.DBMTL(beta, sigma))
    average = None
    for step, outcome in enumerate(outcomes, 1):
        newest = rows[step - 1] / losses[step - 1][:, None]
        past = beta / step**sigma
        average = newest if average is None else newest + past * (average - newest)
        lengths = np.linalg.norm(average, axis=1)
        expected = (lengths.max() / lengths) @ average / 3
        # Far from the bound the smoothed logarithm is the logarithm to 1e-6.
        np.testing.assert_allclose(outcome.direction, expected, rtol=1e-4, atol=1e-5)


def test_moco():
    outcomes, rows, _ = history(combiners.MoCo(0.5, 0.2, 0.1))
    averages, weights = rows[0], np.full(3, 1 / 3)
    for step, outcome in enumerate(outcomes, 1):
        if step > 1:
            averages = averages - 0.5 / np.sqrt(step) * (averages - rows[step - 1])
        slope = averages @ averages.T @ weights + 0.1 * weights
        weights = nearest_in_simplex(weights - 0.2 / np.sqrt(step) * slope)
        np.testing.assert_allclose(outcome.weights, weights, atol=1e-5)
        np.testing.assert_allclose(outcome.direction, weights @ averages, atol=1e-4)


def test_m_config():
    """A step reads one task's gradient; the direction is from the pseudo-inverse of momenta."""
    outcomes, rows, _ = history(combiners.MConFIG(0.7))
    sums, counts = np.zeros_like(rows[0]), np.zeros(3)
    for step, outcome in enumerate(outcomes):
        turn = step % 3
        sums[turn] = 0.7 * sums[turn] + 0.3 * rows[step][turn]
        counts[turn] += 1
        momenta = (sums[counts > 0].T / (1 - 0.7 ** counts[counts > 0])).T
        units = momenta / np.linalg.norm(momenta, axis=1, keepdims=True)
        along = np.linalg.pinv(units) @ np.ones(len(units))
        along /= np.linalg.norm(along)
        expected = (momenta @ along).sum() * along / len(momenta)
        np.testing.assert_allclose(outcome.direction, expected, atol=1e-4)


def test_m_config_takes_turns_among_present_tasks():
    combiner = combiners.MConFIG(preference=[1, 0, 1, 1])
    combiner.bind(list("abcd"), ["one/kernel"])
    combiner.bind_shapes({"one/kernel": (5,)})
    combiner.build(4)
    rows = tf.constant(np.random.default_rng(0).normal(size=(4, 5)), tf.float32)
    turns = []
    for step in range(6):
        present = tf.constant([True, True, True, step not in (2, 3)])
        turns.append(int(combiner.chosen_tasks(present)[0]))
        weights = combiner([rows], tf.ones(4), present).task_weights.numpy()
        assert set(np.flatnonzero(weights)) <= set(turns) - ({3} if step in (2, 3) else set())
    assert turns == [0, 2, 0, 2, 3, 0]


def nearest_in_simplex(vector):
    """Projects on the simplex by bisection, not by sorting."""
    low, high = vector.min() - 1, vector.max()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(vector - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(vector - low, 0)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3, 1e20])
def test_projection_on_the_simplex(size):
    for seed in range(5):
        vector = size * np.random.default_rng(seed).normal(size=6)
        present = np.arange(6) != 2
        found = project(tf.constant(vector, tf.float32), tf.constant(present)).numpy()
        expected = np.zeros(6)
        if size < 1e20:
            expected[present] = nearest_in_simplex(vector[present])
        else:
            expected[np.where(present, vector, -np.inf).argmax()] = 1
        np.testing.assert_allclose(found, expected, atol=2e-7 * max(1, size))
        assert found.sum() == pytest.approx(1, abs=1e-6)


def test_excess_mtl():
    outcomes, rows, _ = history(combiners.ExcessMTL(2, 0.3))
    squares, baselines, weights = np.zeros_like(rows[0]), [], np.full(3, 1 / 3)
    for step, outcome in enumerate(outcomes, 1):
        squares = squares + rows[step - 1] ** 2
        excess = (rows[step - 1] ** 2 / np.sqrt(squares)).sum(1)
        if step <= 2:
            baselines.append(excess)
        else:
            weights = weights * np.exp(0.3 * excess / np.mean(baselines, 0))
            weights = weights / weights.sum()
        np.testing.assert_allclose(outcome.weights, weights, rtol=1e-5)
        np.testing.assert_allclose(outcome.direction, weights @ rows[step - 1], atol=1e-5)


def test_metabalance():
    outcomes, rows, _ = history(combiners.MetaBalance("task1", 0.6, 0.8))
    norms = None
    for outcome, given in zip(outcomes, rows, strict=True):
        parts = [given[:, :6], given[:, 6:]]
        found = np.array([np.linalg.norm(part, axis=1) for part in parts])
        norms = found if norms is None else 0.8 * norms + 0.2 * found
        factors = 0.4 + 0.6 * norms[:, 1:2] / norms
        each = [w @ part / 3 for w, part in zip(factors, parts, strict=True)]
        np.testing.assert_allclose(outcome.direction, np.concatenate(each), atol=1e-5)
        np.testing.assert_allclose(outcome.weights, factors.mean(0) / 3, rtol=1e-5)


@pytest.mark.parametrize("total", [None, 2.5])
def test_encodec_balancer(total):
    shares = {"task0": 1, "task1": 3, "task2": 0}
    combiner = combiners.EnCodecBalancer(shares, total, 0.6, at="parameters")
    outcomes, rows, _ = history(combiner)
    norms, shares = None, np.array([0.25, 0.75, 0])
    for outcome, given in zip(outcomes, rows, strict=True):
        found = np.linalg.norm(given, axis=1)
        norms = found if norms is None else 0.6 * norms + 0.4 * found
        whole = shares @ norms if total is None else total
        np.testing.assert_allclose(outcome.weights, whole * shares / norms, rtol=1e-5)


BUFFERED = [combiners.DBMTL, combiners.MoCo, combiners.MConFIG]
BUFFERED += [combiners.ExcessMTL, combiners.MetaBalance]


@pytest.mark.parametrize("make", BUFFERED)
def test_shapes_are_inferred_from_the_first_gradients(make):
    combiner = make()
    found = combiner([tf.ones((2, 3)), tf.ones((2, 4, 5))], tf.ones(2))
    np.testing.assert_allclose(found.gradients[1], np.ones((4, 5)), rtol=1e-5)


@pytest.mark.parametrize("make", BUFFERED)
def test_new_variable_after_build_is_refused(make):
    combiner = make()
    combiner.bind(["a", "b"], ["one/kernel"])
    combiner.bind_shapes({"one/kernel": (3,)})
    combiner.build(2)
    # As a model does when it is compiled again.
    combiner.bind(["a", "b"], ["one/kernel", "two/kernel"])
    combiner.bind_shapes({"one/kernel": (3,), "two/kernel": (4,)})
    with pytest.raises(ValueError, match="two/kernel.*new model"):
        combiner([tf.ones((2, 3)), tf.ones((2, 4))], tf.ones(2))


@pytest.mark.parametrize("make", BUFFERED)
def test_variables_with_the_same_path_are_refused(make):
    combiner = make()
    combiner.bind(["a", "b"], ["one/kernel", "one/kernel"])
    combiner.bind_shapes({"one/kernel": (3,)})
    combiner.build(2)
    with pytest.raises(ValueError, match="several variables have the path.*one/kernel"):
        combiner([tf.ones((2, 3)), tf.ones((2, 3))], tf.ones(2))


@pytest.mark.parametrize("make", BUFFERED)
def test_shapes_must_be_bound(make):
    combiner = make()
    combiner.bind(["a", "b"], ["one/kernel"])
    with pytest.raises(ValueError, match="bind_shapes"):
        combiner.build(2)


REFUSED = [
    (lambda: combiners.DBMTL(1.0), "`beta`"),
    (lambda: combiners.DBMTL(sigma=-1.0), "`sigma`"),
    (lambda: combiners.DBMTL(bounds="low"), "`bounds`"),
    (lambda: combiners.MoCo(beta=0.0), "`beta`"),
    (lambda: combiners.MoCo(gamma=-1.0), "`gamma`"),
    (lambda: combiners.MoCo(rho=float("nan")), "`rho`"),
    (lambda: combiners.MConFIG(1.0), "`beta`"),
    (lambda: combiners.MConFIG(preference=[0, 0]), "`preference`"),
    (lambda: combiners.ExcessMTL(0), "`warm_up`"),
    (lambda: combiners.ExcessMTL(step_size=-1.0), "`step_size`"),
    (lambda: combiners.MetaBalance(relax=1.5), "`relax`"),
    (lambda: combiners.MetaBalance(beta=1.0), "`beta`"),
    (lambda: combiners.EnCodecBalancer(total_norm=0.0), "`total_norm`"),
    (lambda: combiners.EnCodecBalancer(decay=1.0), "`decay`"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_invalid_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_target_must_be_a_task():
    combiner = combiners.MetaBalance("c")
    combiner.bind(["a", "b"], ["one/kernel"])
    combiner.bind_shapes({"one/kernel": (3,)})
    with pytest.raises(ValueError, match="`target`.*'c'"):
        combiner.build(2)
