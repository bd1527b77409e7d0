import itertools
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from mtk.data.order import derive_seed, index_batches, permutation


def read(num_examples: int, starts, seed: int = 0, **where) -> list[list[int]]:
    return [batch.numpy().tolist() for batch in index_batches(num_examples, starts, seed, **where)]


def read_stream(num_examples: int, starts, seed: int = 0, **where) -> list[int]:
    return list(itertools.chain(*read(num_examples, starts, seed, **where)))


def even(batch_size: int, steps: int) -> np.ndarray:
    return batch_size * np.arange(steps + 1)


@pytest.mark.parametrize(
    ("num_examples", "batch_size", "epochs"),
    [(10, 3, 3), (12, 4, 2), (7, 7, 3), (5, 12, 12), (1, 2, 4)],
)
def test_epoch_reads_every_example_once(num_examples, batch_size, epochs):
    steps = num_examples * epochs // batch_size
    stream = read_stream(num_examples, even(batch_size, steps))
    for start in range(0, len(stream) - num_examples + 1, num_examples):
        assert sorted(stream[start : start + num_examples]) == list(range(num_examples))
    assert len(stream) == steps * batch_size


def test_batch_may_span_two_epochs():
    """Computed here from the permutations, independently of the data set."""
    key = derive_seed(3, 1)
    orders = np.concatenate([permutation(10, key, epoch) for epoch in range(3)])
    batches = read(10, even(4, 7), seed=3, stream=1)
    assert batches == orders[:28].reshape(7, 4).tolist()


@pytest.mark.parametrize("first_step", [0, 1, 3, 6, 9, 10])
def test_resumes_at_first_step(first_step):
    # Batches of many sizes, including zero.
    starts = np.array([0, 3, 3, 7, 8, 20, 21, 25, 30, 30, 33])
    whole = read(6, starts, seed=5)
    assert [len(batch) for batch in whole] == np.diff(starts).tolist()
    assert read(6, starts, seed=5, first_step=first_step) == whole[first_step:]


def test_seed_stream_and_epoch_each_change_the_order():
    orders = [
        tuple(read_stream(50, [0, 50], seed=seed, stream=stream))
        for seed in (0, 1, 256)
        for stream in range(3)
    ]
    stream = read_stream(50, even(50, 5))
    orders += [tuple(stream[start : start + 50]) for start in range(50, 250, 50)]
    assert len(set(orders)) == len(orders)


def test_epochs_do_not_repeat():
    """A seed of 8 bits would give only 256 orders in 600 epochs."""
    key = derive_seed(0, 0)
    order = tf.function(lambda epoch: permutation(20, key, epoch))
    orders = {tuple(order(tf.constant(epoch)).numpy()) for epoch in range(600)}
    assert len(orders) == 600


def test_orders_are_uniform():
    """Chi-squared test of which example comes first, with 9 degrees of freedom."""
    stream = np.array(read_stream(10, even(10, 2000))).reshape(2000, 10)
    for position in (0, 4, 9):
        counts = np.array([Counter(stream[:, position])[i] for i in range(10)])
        assert ((counts - 200) ** 2 / 200).sum() < 33.7  # Exceeded with probability 1e-4.


def test_permutation_is_computed_once_per_epoch(monkeypatch):
    computed = []

    def counted(num_examples, seed, epoch):
        tf.py_function(lambda e: computed.append(int(e)), [epoch], [])
        return permutation(num_examples, seed, epoch)

    monkeypatch.setattr("mtk.data.order.permutation", counted)
    read(10, even(2, 20))
    assert computed == [0, 1, 2, 3]


def test_resuming_a_long_run_takes_constant_time():
    starts = 256 * np.arange(1_000_001)
    batches = index_batches(48_000, starts, 0, first_step=999_998)
    assert [batch.shape for batch in batches] == [(256,), (256,)]


@pytest.mark.parametrize(("starts", "shape"), [(even(4, 3), (4,)), ([0, 1, 5], (None,))])
def test_cardinality_and_shape_are_known(starts, shape):
    batches = index_batches(10, starts, 0, first_step=1)
    assert int(batches.cardinality()) == len(starts) - 2
    assert batches.element_spec.shape.as_list() == list(shape)


def test_derived_seeds_differ():
    seeds = {
        derive_seed(*path)
        for path in [(0,), (1,), (256,), (0, 0), (0, 1), (1, 0), (0, 0, 1), (2**40,)]
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(7, 1) == derive_seed(7, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_examples": 0}, "`num_examples` must be 1 or more"),
        ({"starts": [0, 5, 3]}, "non-decreasing"),
        ({"starts": [-1, 5]}, "non-decreasing"),
        ({"starts": []}, "non-decreasing"),
        ({"first_step": 3}, "0 ... 2"),
        ({"first_step": -1}, "0 ... 2"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_invalid_arguments_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        index_batches(**{"num_examples": 5, "starts": [0, 2, 4], "seed": 0, **arguments})
