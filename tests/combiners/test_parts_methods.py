"""Methods that compare parts of a batch, compared with NumPy implementations."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

import mtk
from mtk import combiners
from mtk.combiners import forum
from tests.combiners import samples
from tests.combiners.test_buffers import nearest_in_simplex
from tests.quick import some

STEPS = 6
MAKES = [
    combiners.MoDo,
    combiners.SDMGrad,
    combiners.AutoLambda,
    combiners.MOML,
    combiners.FORUM,
]
# Their weights sum to one.
SHARING = [make for make in MAKES if make is not combiners.FORUM]


def jacobians(parts, num_tasks=3, seed=0):
    """Returns gradients `(P, K, n)`: a common component plus one for each part."""
    common = samples.jacobian("conflicting", num_tasks, seed)
    own = [samples.jacobian("conflicting", num_tasks, 100 * (seed + 1) + p) for p in range(parts)]
    return np.array([common + 0.5 * each for each in own])


def step(combiner, rows, present=None):
    """Takes a step with gradients `(P, K, n)`; returns direction and weights `(K,)`."""
    losses = tf.ones(rows.shape[:2])
    found = combiner([tf.constant(rows, tf.float32)], losses, present)
    return found.gradients[0].numpy(), found.task_weights.numpy()


def traced(combiner, num_tasks=3):
    """Returns `step` as a graph: iterations of a solver take longer than tracing them once."""
    combiner.build(num_tasks)
    graph = tf.function(
        lambda rows, present: combiner([rows], tf.ones(rows.shape[:2]), present), autograph=False
    )

    def run(rows, present):
        found = graph(tf.constant(rows, tf.float32), tf.constant(present))
        return found.gradients[0].numpy(), found.task_weights.numpy()

    return run


def test_modo():
    combiner, weights = combiners.MoDo(0.05, 0.2), np.full(3, 1 / 3)
    for seed in range(STEPS):
        one, two, three = (each.astype(float) for each in jacobians(3, seed=seed))
        weights = nearest_in_simplex(weights - 0.05 * (one @ (two.T @ weights) + 0.2 * weights))
        direction, found = step(combiner, np.array([one, two, three]))
        np.testing.assert_allclose(found, weights, atol=1e-5)
        np.testing.assert_allclose(direction, weights @ three, atol=1e-4)


def test_modo_by_hand():
    """`J_1 J_2' w = (1, -1)` at equal weights: they become (1/4, 3/4)."""
    rows = np.array([[[1.0, 0], [0, 1]], [[1, -1], [1, -1]], [[1, 0], [0, 4]]])
    direction, weights = step(combiners.MoDo(0.25, 0.0), rows)
    np.testing.assert_allclose(weights, [1 / 4, 3 / 4])
    np.testing.assert_allclose(direction, [1 / 4, 3])


def test_sdmgrad():
    combiner, weights = combiners.SDMGrad(0.4, 7, 0.8), np.full(3, 1 / 3)
    for seed in range(STEPS):
        one, two, three = (each.astype(float) for each in jacobians(3, seed=seed))
        cross = one @ two.T / np.linalg.norm(one @ two.T)
        velocity = np.zeros(3)
        for _ in range(7):
            velocity = 0.5 * velocity + cross @ weights + 0.4 * cross.mean(1)
            weights = nearest_in_simplex(weights - 0.8 * velocity)
        direction, found = step(combiner, np.array([one, two, three]))
        np.testing.assert_allclose(found, (weights + 0.4 / 3) / 1.4, atol=1e-5)
        np.testing.assert_allclose(direction, found @ three, atol=1e-5)


@functools.cache
def traced_sdmgrad(regularization):
    """Returns the weights of four tasks as a function of a matrix, traced once."""
    combiner = combiners.SDMGrad(regularization, 1000)
    combiner.build(4)
    initial = [variable.numpy() for variable in combiner.variables]
    weights = tf.function(lambda rows: combiner([rows], tf.ones(4)).task_weights, autograph=False)

    def solve(rows):
        for variable, value in zip(combiner.variables, initial, strict=True):
            variable.assign(value)
        return weights(tf.constant(rows, tf.float32)).numpy()

    return solve


@pytest.mark.parametrize("regularization", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("kind", ["conflicting", "orthogonal", "aligned", "opposed"])
def test_sdmgrad_converges(kind, regularization):
    """On one matrix, to the minimum of `|J' (w + regularization e)|` over the simplex."""
    rows = samples.jacobian(kind, 4).astype(float)
    gramian, equal = rows @ rows.T, np.full(4, 1 / 4)
    found = traced_sdmgrad(regularization)(rows)
    weights = found * (1 + regularization) - regularization * equal
    best = optimize.minimize(
        lambda w: (w + regularization * equal) @ gramian @ (w + regularization * equal),
        equal,
        bounds=[(0, None)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    ).x
    np.testing.assert_allclose(weights, best, atol=1e-3)


def adam(slopes, rate):
    """Returns the sum of Adam's steps for a list of gradients."""
    mean = square = total = np.zeros_like(slopes[0])
    for count, slope in enumerate(slopes, 1):
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        change = mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
        total = total - rate * change
    return total


def test_auto_lambda():
    combiner, slopes = combiners.AutoLambda(0.05, primary=[2, 0, 1]), []
    for seed in range(STEPS):
        train, valid = (each.astype(float) for each in jacobians(2, seed=seed))
        slope = -train @ (np.array([1, 0, 0.5]) @ valid)
        slopes.append(slope / np.abs(slope).max())
        relative = np.maximum(1 + adam(slopes, 0.05), 0)
        direction, found = step(combiner, np.array([train, valid]))
        np.testing.assert_allclose(found, relative / relative.sum(), atol=1e-5)
        np.testing.assert_allclose(direction, found @ (train + valid) / 2, atol=1e-4)


def softmax(z):
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


def test_moml():
    combiner, slopes, logits = combiners.MOML(0.2), [], np.zeros(3)
    for seed in range(STEPS):
        train, valid = (each.astype(float) for each in jacobians(2, seed=seed))
        weights = softmax(logits)
        each = -(valid @ train.T) @ (np.diag(weights) - np.outer(weights, weights))
        units = each / np.linalg.norm(each, axis=1, keepdims=True)
        shares = shortest(units)
        slope = shares @ units
        slopes.append(slope if np.linalg.norm(slope) > 1e-3 else 0 * slope)
        logits = adam(slopes, 0.2)
        direction, found = step(combiner, np.array([train, valid]))
        np.testing.assert_allclose(found, softmax(logits), atol=1e-3)
        np.testing.assert_allclose(direction, found @ (train + valid) / 2, atol=1e-4)
    assert 0 < sum(slope.any() for slope in slopes) < STEPS


def shortest(rows):
    """Returns the weights of the shortest vector in the hull of rows."""
    # The sum of one is an additional equation with a large weight.
    matrix = np.vstack([rows.T, np.full(len(rows), 1e4)])
    return optimize.nnls(matrix, np.array([0] * rows.shape[1] + [1e4]))[0]


def gap(shares, gramian, along, rho):
    """Returns the objective that FORUM's shares minimize, and nu."""
    nu = max(shares @ (rho - along), 0.0)
    return shares @ gramian @ shares + 2 * nu * along @ shares + nu**2 - nu * rho, nu


def forum_shares(gramian, along, rho):
    """Minimizes the objective over shares and nu by sequential quadratic programming."""
    size = len(along)
    return optimize.minimize(
        lambda x: x[:-1] @ gramian @ x[:-1] + 2 * x[-1] * along @ x[:-1] + x[-1] ** 2 - rho * x[-1],
        np.append(np.full(size, 1 / size), rho),
        bounds=[(0, None)] * (size + 1),
        constraints=[
            {"type": "eq", "fun": lambda x: x[:-1].sum() - 1},
            {"type": "ineq", "fun": lambda x: x[-1] - x[:-1] @ (rho - along)},
        ],
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    ).x[:-1]


@functools.cache
def traced_least(num_tasks):
    """Returns FORUM's shares as a function of Gramian, products and rho, traced once."""
    double = functools.partial(tf.TensorSpec, dtype=tf.float64)
    everyone = tf.ones(num_tasks, tf.bool)
    return tf.function(
        lambda gramian, along, rho: forum.least(gramian, along, everyone, rho),
        input_signature=(double((num_tasks, num_tasks)), double(num_tasks), double(())),
        autograph=False,
    )


@pytest.mark.parametrize("num_tasks", [2, 5, 13])
@pytest.mark.parametrize("rho", some([0.0, 0.1, 0.5, 2.0], [0.1, 2.0]))
def test_forum_shares_are_optimal(rho, num_tasks):
    solve = traced_least(num_tasks)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # With fewer dimensions than tasks or more, and training gradients that agree or do not.
        rows = rng.normal(size=(num_tasks, max(2, num_tasks - 2) if seed % 2 else 30))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        q = rng.normal(size=rows.shape[1]) + (seed % 3) * rows.sum(0)
        gramian, along = rows @ rows.T, rows @ (q / np.linalg.norm(q))
        shares, solved = solve(gramian, along, rho)
        assert solved
        assert shares.numpy().sum() == pytest.approx(1)
        least = gap(forum_shares(gramian, along, rho), gramian, along, rho)[0]
        assert gap(shares.numpy(), gramian, along, rho)[0] <= least + 1e-6


@pytest.mark.parametrize("rho", [0.1, 0.8])
def test_forum(rho):
    combiner, slopes, logits = combiners.FORUM(rho, 0.2), [], np.zeros(3)
    mean = np.full(3, 1 / 3)
    for seed in range(STEPS):
        train, valid = (each.astype(float) for each in jacobians(2, seed=seed))
        weights = softmax(logits)
        q = weights @ train
        units = valid / np.linalg.norm(valid, axis=1, keepdims=True)
        along = units @ q / np.linalg.norm(q)
        mean += (seed + 1) ** -0.75 * (forum_shares(units @ units.T, along, rho) - mean)
        nu = gap(mean, units @ units.T, along, rho)[1]
        spread = np.diag(weights) - np.outer(weights, weights)
        slopes.append(nu * spread @ train @ train.T @ weights / (q @ q))
        logits = adam(slopes, 0.2)
        direction, found = step(combiner, np.array([train, valid]))
        expected = np.linalg.norm(q) * mean @ units + nu * q
        np.testing.assert_allclose(direction, expected, atol=2e-3 * np.linalg.norm(q))
        own = nu * weights + np.linalg.norm(q) * mean / np.linalg.norm(valid, axis=1)
        np.testing.assert_allclose(found, own, rtol=5e-3, atol=1e-3)
        # The training loss falls by the required amount.
        assert direction @ q >= (rho - 1e-3) * q @ q
    assert any(slope.any() for slope in slopes) == (rho > 0.5)


def test_forum_ignores_rounding_errors():
    """Rounding errors of shares that do not use the training loss give a slope of 1e-9."""
    rng = np.random.default_rng(49)
    mean = rng.normal(size=(7, 12))
    each = (mean + 0.7 * rng.normal(size=(2, 7, 12))) * rng.uniform(0.5, 2, (1, 7, 1))
    combiner = combiners.FORUM(learning_rate=0.1)
    step(combiner, each)
    np.testing.assert_allclose(combiner.logits.numpy(), 0.0, atol=1e-6)


def test_forum_with_gradients_in_one_half_only():
    """If one half has no gradients, the direction is from the other half, at its scale."""
    rows = jacobians(2)
    halves = (np.array([rows[0], 0 * rows[1]]), np.array([0 * rows[0], rows[1]]))
    direction, _ = step(combiners.FORUM(), halves[0])
    np.testing.assert_allclose(direction, rows[0].mean(0), rtol=1e-5, atol=1e-5)
    direction, weights = step(combiners.FORUM(), halves[1])
    lengths = np.linalg.norm(rows[1], axis=1)
    assert (weights * lengths).sum() == pytest.approx(lengths.mean(), rel=1e-4)
    np.testing.assert_allclose(direction, weights @ rows[1], rtol=1e-4, atol=1e-4)


def quadratic(seed):
    """Returns three losses of four variables, their values and gradients."""
    rng = np.random.default_rng(seed)
    roots, optima = rng.normal(size=(3, 4, 4)), rng.normal(size=(3, 4))

    def values(x):
        return np.array([np.sum((a @ (x - o)) ** 2) for a, o in zip(roots, optima, strict=True)])

    def gradients(x):
        return np.array([2 * a.T @ a @ (x - o) for a, o in zip(roots, optima, strict=True)])

    return values, gradients


@pytest.mark.parametrize("seed", range(3))
def test_slopes_equal_finite_differences(seed):
    """Differences of validation losses after a short step on weighted training losses."""
    _, of_train = quadratic(seed)
    values, of_valid = quadratic(seed + 10)
    x = np.random.default_rng(seed).normal(size=4)
    train, valid, length, small = of_train(x), of_valid(x), 1e-6, 1e-3

    def after(weights):
        return values(x - length * weights @ train)

    logits = np.array([0.3, -0.2, 0.1])
    by_weights, by_logits = np.zeros((3, 3)), np.zeros((3, 3))
    for i in range(3):
        up, down = (np.full(3, 1 / 3) + sign * small * np.eye(3)[i] for sign in (1, -1))
        by_weights[:, i] = (after(up) - after(down)) / (2 * small * length)
        up, down = (softmax(logits + sign * small * np.eye(3)[i]) for sign in (1, -1))
        by_logits[:, i] = (after(up) - after(down)) / (2 * small * length)
    # The slope of Adam's first step, scaled to a largest value of one.
    combiner = combiners.AutoLambda(1.0)
    step(combiner, np.array([train, valid]))
    expected = by_weights.sum(0)
    found = combiner.adam.mean.numpy() * 10
    np.testing.assert_allclose(found, expected / np.abs(expected).max(), rtol=1e-3, atol=1e-4)
    moml = combiners.MOML()
    moml.build(3)
    moml.logits.assign(logits)
    slopes = moml._slopes(tf.constant(valid @ train.T, tf.float32), tf.fill([3], True)).numpy()
    units = by_logits / np.linalg.norm(by_logits, axis=1, keepdims=True)
    np.testing.assert_allclose(slopes, units, rtol=1e-3, atol=1e-4)


def test_auto_lambda_finds_the_harmful_task():
    """The third task's gradient increases the validation losses of the other tasks."""
    run = traced(combiners.AutoLambda(0.01, primary=[1, 1, 0]))
    for seed in range(150):
        noise = 0.3 * np.random.default_rng(seed).normal(size=(2, 3, 5))
        rows = np.tile([[1.0, 1, 0, 0, 0], [1, 0, 1, 0, 0], [-1, 0, 0, 1, 0]], (2, 1, 1)) + noise
        _, weights = run(rows, np.ones((2, 3), bool))
    assert weights[2] < 0.02
    assert abs(weights[0] - weights[1]) < 0.1


def test_moml_weights_stay_if_two_tasks_want_opposite_changes():
    combiner = combiners.MOML(0.5)
    for _ in range(5):
        step(combiner, np.tile([[1.0, 0], [0, 1]], (2, 1, 1)))
    np.testing.assert_allclose(combiner.logits.numpy(), 0, atol=1e-6)


@pytest.mark.parametrize("make", MAKES)
def test_undivided_gradients_are_used_for_all_parts(make):
    rows = samples.jacobian("conflicting", 3)
    one, other = make(), make()
    for _ in range(3):
        whole = one([tf.constant(rows)], tf.ones(3))
        direction, weights = step(other, np.tile(rows, (other.batch_parts, 1, 1)))
    np.testing.assert_allclose(whole.gradients[0], direction, atol=1e-5)
    np.testing.assert_allclose(whole.task_weights, weights, atol=1e-6)


@pytest.mark.parametrize("make", some(MAKES, MAKES[:2]))
def test_missing_labels_in_some_parts(make):
    """Results are finite, and a task without labels in any part has no weight."""
    for lacking in range(make.batch_parts):
        run, rows = traced(make()), jacobians(make.batch_parts)
        present = np.ones(rows.shape[:2], bool)
        present[lacking, 1] = False
        rows[lacking, 1] = 0
        for _ in range(3):
            direction, weights = run(rows, present)
        assert np.isfinite(direction).all()
        if make in SHARING:
            assert weights.sum() == pytest.approx(1, abs=1e-5)
        assert weights[1] == 0 if present[:, 1].sum() == 0 else weights[1] >= 0
    direction, weights = run(rows, np.zeros_like(present))
    assert not direction.any()
    assert not weights.any()


@pytest.mark.parametrize("make", some(MAKES, MAKES[:1]))
def test_nonfinite_gradients_in_any_part_give_nan(make):
    for part in range(make.batch_parts):
        rows = jacobians(make.batch_parts)
        rows[part, 2, 0] = np.inf
        run = traced(make())
        assert np.isnan(run(rows, np.ones(rows.shape[:2], bool))[1]).any()


@pytest.mark.slow
def test_sdmgrad_trains_large_networks():
    """Regression: the second step of `fit` failed after TensorFlow merged sums in a loop."""
    x = inputs = keras.Input((1024,))
    for _ in range(2):
        x = keras.layers.Dense(1024, "relu")(x)
    network = keras.Model(inputs, {f"t{k}": keras.layers.Dense(1)(x) for k in range(8)})
    tasks = [mtk.Task(f"t{k}", "mse") for k in range(8)]
    model = mtk.MultiTaskModel(network, tasks, combiners.SDMGrad())
    model.compile(keras.optimizers.SGD(1e-3))
    rows = np.random.default_rng(0).normal(size=(36, 1024)).astype("float32")
    labels = {task.name: rows[:, k : k + 1] for k, task in enumerate(tasks)}
    assert np.isfinite(model.fit(rows, labels, batch_size=12, verbose=0).history["loss"]).all()


REFUSED = [
    (lambda: combiners.MoDo(gamma=-1.0), "`gamma`"),
    (lambda: combiners.MoDo(rho=float("inf")), "`rho`"),
    (lambda: combiners.SDMGrad(-0.1), "`regularization`"),
    (lambda: combiners.SDMGrad(iterations=0), "`iterations`"),
    (lambda: combiners.SDMGrad(step_size=3.0), "`step_size`"),
    (lambda: combiners.AutoLambda(-1.0), "`learning_rate`"),
    (lambda: combiners.AutoLambda(primary=[0, 0]), "`primary`.*not all zero"),
    (lambda: combiners.AutoLambda(primary={"a": float("nan")}), "`primary`"),
    (lambda: combiners.MOML(float("nan")), "`learning_rate`"),
    (lambda: combiners.FORUM(rho=-0.1), "`rho`"),
    (lambda: combiners.FORUM(decay=float("inf")), "`decay`"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_invalid_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_primary_must_name_tasks():
    combiner = combiners.AutoLambda(primary={"a": 1, "c": 1})
    combiner.bind(["a", "b"], ["one/kernel"])
    with pytest.raises(ValueError, match="`primary`.*'c'"):
        combiner.build(2)
