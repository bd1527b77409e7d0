import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtk.data.mixing import mixed_batches, per_task_batches, task_counts, temperature_shares
from mtk.data.sources import in_memory
from tests.quick import some

WEIGHTS = [
    *([w / 10, 1 - w / 10] for w in range(1, 10)),
    *np.random.default_rng(0).dirichlet(np.ones(3), 3).tolist(),
    *np.random.default_rng(1).dirichlet(np.ones(4), 3).tolist(),
    *np.random.default_rng(2).dirichlet(np.full(5, 0.3), 3).tolist(),
    *np.random.default_rng(3).dirichlet(np.ones(6), 3).tolist(),
    [1, 0],
    [0, 3, 1],
    [2, 1, 0],
    [1, 1, 1],
    [1e-6, 1 - 1e-6],
    [1],
]


@pytest.mark.parametrize("batch_size", [1, 7, 256])
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda w: ",".join(f"{x:.3g}" for x in w))
def test_counts_follow_the_shares(weights, batch_size):
    steps = 100_000
    counts = task_counts(weights, batch_size, steps, seed=1)
    share = batch_size * np.array(weights) / np.sum(weights)
    assert (counts.sum(axis=1) == batch_size).all()
    # Per batch: the share, rounded down or up.
    assert (counts >= np.floor(share + 1e-9)).all()
    assert (counts <= np.ceil(share - 1e-9)).all()
    # Cumulative counts differ from the share by a few examples; with random draws it would be
    # hundreds.
    due = share * np.arange(1, steps + 1)[:, np.newaxis]
    assert np.abs(np.cumsum(counts, axis=0) - due).max() < 5


def test_counts_equal_those_computed_by_hand():
    """Integral shares need no rounding; halves alternate."""
    assert task_counts([0.25, 0.75], 8, 3, seed=0).tolist() == [[2, 6]] * 3
    halves = task_counts([1, 1], 5, 1000, seed=0)
    assert set(map(tuple, halves.tolist())) == {(2, 3), (3, 2)}
    assert abs(halves[:, 0].sum() - 2500) <= 2


def test_counts_depend_only_on_the_seed():
    one, same, other = (task_counts([0.3, 0.7], 8, 50, seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert task_counts([0.3, 0.7], 8, 20, 1).tolist() == one[:20].tolist()
    assert task_counts([3, 7], 8, 50, 1).tolist() == one.tolist()


@pytest.mark.parametrize("weights", [[-0.1, 1.1], [0, 0], [], [[1, 2]], [float("nan"), 1]])
def test_invalid_weights_raise(weights):
    with pytest.raises(ValueError, match="Shares must be finite"):
        task_counts(weights, 8, 10, 0)


@pytest.mark.parametrize("batch_size", [0, -3])
def test_invalid_batch_size_raises(batch_size):
    with pytest.raises(ValueError, match="`batch_size` must be 1 or more"):
        task_counts([1, 1], batch_size, 10, 0)


@pytest.fixture
def sources():
    """Task a contains 0 to 9, task b 100 to 106; labels are the negatives."""
    values = {"b": np.arange(100, 107), "a": np.arange(10)}
    return {task: in_memory((x[:, None], -x, x % 2)) for task, x in values.items()}


def as_numpy(batches: tf.data.Dataset) -> list:
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), batch) for batch in batches]


def test_mixed_batches(sources):
    batches = as_numpy(mixed_batches(sources, {"a": 0.7, "b": 0.3}, 6, 35, seed=4))
    counts = task_counts([0.3, 0.7], 6, 35, 4)
    read = {0: [], 1: []}
    for (x, y, ids, mask), count in zip(batches, counts, strict=True):
        np.testing.assert_array_equal(ids, np.repeat([0, 1], count))
        np.testing.assert_array_equal(x[:, 0] >= 100, ids == 0)
        np.testing.assert_array_equal(y, -x[:, 0])
        np.testing.assert_array_equal(mask, x[:, 0] % 2)
        for task in read:
            read[task] += x[ids == task, 0].tolist()
    for task, size in ((0, 7), (1, 10)):
        for start in range(0, len(read[task]) - size + 1, size):
            assert len(set(read[task][start : start + size])) == size


def test_mixed_batches_without_a_mask():
    sources = {task: in_memory((np.zeros((4, 2)), np.zeros(4))) for task in "ab"}
    batches = mixed_batches(sources, {"a": 1, "b": 1}, 6, 3, seed=0)
    assert [spec.shape for spec in batches.element_spec] == [(6, 2), (6,), (6,)]
    assert batches.element_spec[2].dtype == tf.int32
    assert int(batches.cardinality()) == 3


def test_a_task_of_weight_zero_is_never_read(sources):
    batches = as_numpy(mixed_batches(sources, {"a": 0, "b": 1}, 4, 10, seed=0))
    assert all((ids == 0).all() for _, _, ids, _ in batches)


@pytest.mark.slow
def test_mixed_and_equal_shares_resume_at_first_step(sources):
    def mixed(step):
        return as_numpy(mixed_batches(sources, {"a": 0.7, "b": 0.3}, 6, 20, 4, step))

    def shared(step):
        return as_numpy(per_task_batches(sources, 6, 20, 4, step))

    for build, first_steps in ((mixed, (1, 7, 20)), (shared, (1, 19))):
        whole = build(0)
        for first_step in first_steps:
            tail = build(first_step)
            tf.nest.map_structure(np.testing.assert_array_equal, tail, whole[first_step:])


def test_equal_shares(sources):
    batches = as_numpy(per_task_batches(sources, 6, 20, seed=4))
    assert len(batches) == 20
    for batch in batches:
        assert set(batch) == {"a", "b"}
        for task, (x, y, _) in batch.items():
            assert x.shape == (3, 1)
            assert (x < 100).all() == (task == "a")
            np.testing.assert_array_equal(y, -x[:, 0])
    first_epoch = np.concatenate([batch["a"][0][:, 0] for batch in batches])[:10]
    assert sorted(first_epoch) == list(range(10))


def test_tasks_of_one_size_are_read_in_different_orders():
    sources = {task: in_memory((np.arange(20), np.arange(20))) for task in "ab"}
    (batch,) = as_numpy(per_task_batches(sources, 40, 1, seed=0))
    assert batch["a"][0].tolist() != batch["b"][0].tolist()


@pytest.mark.parametrize("batch_size", [7, 1, 0])
def test_batch_size_not_divisible_by_the_tasks_raises(sources, batch_size):
    with pytest.raises(ValueError, match="multiple of the number of tasks, 2"):
        per_task_batches(sources, batch_size, 5, 0)


def test_weights_of_unknown_tasks_raise(sources):
    with pytest.raises(ValueError, match=r"\['a', 'c'\].*\['a', 'b'\]"):
        mixed_batches(sources, {"a": 1, "c": 1}, 4, 5, 0)


SIZES = {"a": 1000, "b": 10}


def test_temperature_interpolates_between_sizes_and_equal_shares():
    by_size = temperature_shares(SIZES, 1.0)
    np.testing.assert_allclose([by_size["a"][0], by_size["b"][0]], [1000 / 1010, 10 / 1010])
    np.testing.assert_allclose(temperature_shares(SIZES, float("inf"))["b"], [0.5])
    five = temperature_shares(SIZES, 5.0)
    assert five["a"][0] / five["b"][0] == pytest.approx(100 ** (1 / 5))


TEMPERATURES, STEPS = (1.0, 2.0, float("inf")), (1, 7, 100)


@pytest.mark.parametrize(
    ("temperature", "steps"),
    some(itertools.product(TEMPERATURES, STEPS), [*zip(TEMPERATURES, STEPS, strict=True)]),
)
def test_constant_temperature_gives_constant_shares(temperature, steps):
    sources = {task: in_memory((np.zeros((n, 1)), np.zeros(n))) for task, n in SIZES.items()}
    shares = temperature_shares(SIZES, temperature)
    every = temperature_shares(SIZES, (temperature, temperature), steps)
    found, expected = (
        [ids.numpy().tolist() for _, _, ids in mixed_batches(sources, each, 24, steps, seed=3)]
        for each in (shares, every)
    )
    assert len(found) == steps
    assert found == expected


def test_annealed_shares_change_from_step_to_step():
    shares = temperature_shares(SIZES, (5.0, 1.0), steps=4)
    for step, temperature in enumerate([5.0, 5 - 4 / 3, 5 - 8 / 3, 1.0]):
        expected = temperature_shares(SIZES, temperature)["a"][0]
        assert shares["a"][step] == pytest.approx(expected)
    np.testing.assert_allclose(shares["a"] + shares["b"], 1.0)


def test_batches_follow_the_shares_of_each_step():
    steps = 400
    shares = temperature_shares(SIZES, (5.0, 1.0), steps)
    counts = task_counts(np.stack([*shares.values()], 1), 16, steps, seed=0)
    assert (counts.sum(axis=1) == 16).all()
    for rows in (slice(0, 200), slice(200, 400)):
        assert counts[rows, 1].sum() == pytest.approx(16 * shares["b"][rows].sum(), abs=8)
    sources = {
        task: in_memory((np.full((size, 1), n, "float32"), np.zeros(size, "float32")))
        for n, (task, size) in enumerate(SIZES.items())
    }
    batches = list(mixed_batches(sources, shares, 16, steps, seed=0, first_step=395))
    found = [int(np.sum(ids)) for _, _, ids in batches]
    assert found == counts[395:, 1].tolist()


@pytest.mark.parametrize(
    ("temperature", "sizes"), [(0.0, SIZES), ((1.0, -1.0), SIZES), (1.0, {"a": 0}), (1.0, {})]
)
def test_invalid_temperatures_and_sizes_raise(temperature, sizes):
    with pytest.raises(ValueError, match="positive"):
        temperature_shares(sizes, temperature)


def test_shares_for_another_number_of_steps_raise():
    with pytest.raises(ValueError, match="at each of 4 steps"):
        task_counts(np.ones((3, 2)), 8, 4, seed=0)
