import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtk.data.bucketing import bucketed_batches
from mtk.data.mixing import mixed_batches, per_task_batches, task_counts
from mtk.data.order import index_batches
from mtk.data.sources import Source
from tests.quick import slow, some

UNEVEN = np.random.default_rng(1).integers(0, 9, 40)
SIZES = [(4,) * 30, (4,) * 7, tuple(UNEVEN.tolist()), (1,)]


def ragged_source(number: int, seed: int = 0) -> Source:
    """Example i consists of copies of i + 1; the lengths are random."""
    lengths = np.random.default_rng(seed).integers(1, 30, number)

    def read(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.repeat(indices + 1, tf.gather(lengths, indices))
        ragged = tf.RaggedTensor.from_row_lengths(rows, tf.gather(lengths, indices))
        dense = ragged.to_tensor(shape=(indices.shape[0], None))
        return dense, indices

    return Source(number, read, lengths)


def read(batches: tf.data.Dataset) -> list[list[int]]:
    return [batch.tolist() for batch in batches.as_numpy_iterator()]


def starts_of(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])


WINDOWED = list(itertools.product(SIZES, [1, 2, 5, 100]))
QUICK = [*zip(SIZES, [1, 2, 5, 100], strict=True), *zip(SIZES, [5, 100, 2, 1], strict=True)]


@pytest.mark.parametrize(("sizes", "window"), some(WINDOWED, QUICK))
def test_windows_contain_the_examples_of_the_unbucketed_order(sizes, window):
    sizes = np.array(sizes)
    source, starts = ragged_source(50), starts_of(sizes)
    plain = read(index_batches(50, starts, 3))
    found = read(bucketed_batches(source, starts, 3, window=window))
    assert [len(batch) for batch in found] == sizes.tolist()
    for first in range(0, len(sizes), window):
        mine, theirs = (itertools.chain(*b[first : first + window]) for b in (found, plain))
        assert sorted(mine) == sorted(theirs)


def test_batches_of_a_window_have_disjoint_length_ranges():
    source, starts = ragged_source(200), starts_of(np.full(24, 8))
    found = read(bucketed_batches(source, starts, 0, window=12))
    for first in (0, 12):
        spans = sorted(
            (source.sort_key[b].min(), source.sort_key[b].max()) for b in found[first:][:12]
        )
        assert all(here[1] <= after[0] for here, after in itertools.pairwise(spans))
    shortest_first = [source.sort_key[batch].mean() for batch in found[:12]]
    assert shortest_first != sorted(shortest_first)
    assert (
        np.argsort(shortest_first).tolist()
        != np.argsort([source.sort_key[batch].mean() for batch in found[12:]]).tolist()
    )


@pytest.mark.parametrize(
    ("sizes", "first_steps"),
    [(UNEVEN, (1, 5, 6, 40)), slow((np.full(40, 3), (0, 4, 39)))],
    ids=["uneven", "equal"],
)
def test_resumes_at_first_step(sizes, first_steps):
    source, starts = ragged_source(50), starts_of(sizes)
    whole = read(bucketed_batches(source, starts, 3, window=5))
    for first_step in first_steps:
        rest = bucketed_batches(source, starts, 3, first_step, window=5)
        assert int(rest.cardinality()) == 40 - first_step
        assert read(rest) == whole[first_step:]


def test_cardinality_of_equal_sizes_is_known():
    batches = bucketed_batches(ragged_source(50), starts_of(np.full(4, 3)), 0, window=2)
    assert batches.element_spec.shape == (3,)


def test_mixed_batches_keep_their_shares_and_have_similar_lengths():
    sources = {"a": ragged_source(300), "b": ragged_source(500, seed=1)}
    rates = {"a": 0.3, "b": 0.7}
    counts = task_counts([0.3, 0.7], 10, 40, 5)
    shares, spread = [], []
    for x, y, ids in mixed_batches(sources, rates, 10, 40, 5, window=20).as_numpy_iterator():
        assert x.shape[0] == y.size == ids.size == 10
        np.testing.assert_array_equal(x[:, 0], y + 1)
        np.testing.assert_array_equal(
            (x > 0).sum(1),
            [sources["ab"[task]].sort_key[i] for task, i in zip(ids, y, strict=True)],
        )
        assert (x > 0).sum(1).max() == x.shape[1]
        shares.append(np.bincount(ids, minlength=2))
        spread.append(np.ptp((x > 0).sum(1)))
    np.testing.assert_array_equal(shares, counts)
    assert np.mean(spread) < 6  # Lengths lie between 1 and 29.


@pytest.mark.parametrize("window", [1, 4])
def test_shares_of_unequal_length(window):
    sources = {"a": ragged_source(30), "b": ragged_source(50, seed=1)}
    for batch in per_task_batches(sources, 6, 10, 5, window=window).as_numpy_iterator():
        for x, y in batch.values():
            assert x.shape[0] == y.size == 3
            np.testing.assert_array_equal(x[:, 0], y + 1)


@pytest.mark.parametrize("window", [0, -1])
def test_invalid_window_raises(window):
    with pytest.raises(ValueError, match="window of 1 or more steps"):
        bucketed_batches(ragged_source(5), starts_of(np.ones(2, int)), 0, window=window)


def test_bucketing_without_lengths_raises():
    with pytest.raises(ValueError, match="a `sort_key`"):
        bucketed_batches(Source(5, lambda i: i), starts_of(np.ones(2, int)), 0, window=2)
